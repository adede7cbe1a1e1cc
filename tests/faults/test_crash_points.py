"""Every commit is a crash point: a process that dies before it or after it harms no job."""

import re
from itertools import product

import operations
import pytest
from building import add_dataset
from crash_database import CrashDatabase, When
from crash_scenario import NODES, Fault, Scenario
from fault_profile import IS_FULL
from invariants import verify
from snapshot import rows

from services.settings import DatabaseSettings

START = [
    *("client submits 1", "scheduler expires 1", "scheduler stops 1"),
    *("scheduler places 1", "scheduler places 2", "scheduler rings 1", "scheduler rings 2"),
    *("worker node_a claims 1", "worker node_a looks 1"),
    *("worker node_b claims 1", "worker node_b looks 1"),
    *("worker node_c claims 1", "worker node_c looks 1"),
    *("runner 0 renews 1", "runner 0 loads 1", "runner 0 gets ready 1"),
    *("runner 1 renews 1", "runner 1 loads 1", "runner 1 gets ready 1"),
    *("runner 0 tells totals 1", "runner 0 adds metrics 1", "runner 0 gives notice 1"),
    "runner 0 adds a checkpoint 1",
]
SUCCESS = ["runner 0 adds an artifact 1", "runner 0 succeeds 1", "runner 1 ends 1"]
COMMITS = {
    Fault.NONE: [*START, *SUCCESS],
    Fault.CANCEL: [*START, "user cancels 1", "runner 0 stops 1", "runner 1 stops 1"],
    Fault.LOST_NODE: [*START, "scheduler expires 2", "runner 0 stops 1", *SUCCESS],
}
"""Every commit of the scenario in which nothing crashes, where it comes first."""


def _can_stay_away(commit):
    return commit.startswith(("client", "runner"))


def _all_crash_points():
    """Yield each commit, on both sides, by components that come back and that stay away."""
    for fault, commits in COMMITS.items():
        first = 0 if fault == Fault.NONE else 1  # with a fault after them: commits of one job only
        for commit, when in product(commits[first:], When):
            for repeats in (True, False) if _can_stay_away(commit) else (True,):
                yield fault, commit, when, repeats


def _representative_crash_points():
    """Yield each operation on both sides of each of its commits.

    What both nodes or ranks of the job do is one operation: the first one dies before the commit,
    the last one after it; so does what is done both without and with a lost node. The third node,
    which has nothing to do at first, counts for itself. What comes before a fault dies in a job
    without one, because recovery from the fault would hide that nothing recovers from the crash.
    Runners come back on one side and stay away on the other, alternately; a client does both on
    both.
    """
    places = {}
    for fault, commit, when, repeats in _all_crash_points():
        operation = re.sub(r"node_[ab] |(?<=runner) \d", "", commit)
        if commit.startswith("client"):
            yield fault, commit, when, repeats
        elif fault == Fault.NONE or commit not in START:
            places.setdefault(operation, {})[fault, commit] = None  # in order, once
    for number, operation in enumerate(places):
        first, *_, last = [*places[operation]] * 2
        for when, (fault, commit) in zip(When, (first, last), strict=True):
            is_turn = (number % 2 == 0) == (when == When.BEFORE)
            yield fault, commit, when, is_turn or not _can_stay_away(commit)


def _parameters():
    crash_points = _all_crash_points() if IS_FULL else _representative_crash_points()
    for fault, commit, when, repeats in crash_points:
        name = f"{fault}-{commit}-{when}-{'comes back' if repeats else 'stays away'}"
        yield pytest.param(fault, (commit, when), repeats, id=name.replace(" ", "_"))


@pytest.fixture
async def make_database(servers, database):
    """Three nodes with one slot each; return a function that makes a database that crashes."""
    await add_dataset(database)
    for node_id in NODES:
        await operations.register(database, node_id, num_slots=1)
    settings = DatabaseSettings(url=servers["NVAE_DATABASE_URL"], pool_size=1)
    databases = []

    def make(crash=None):
        databases.append(CrashDatabase(settings, crash=crash))
        return databases[-1]

    yield make
    for crash_database in databases:
        await crash_database.close()


@pytest.mark.parametrize("fault", list(Fault))
async def test_every_commit_is_known(database, make_database, fault):
    quiet = make_database()
    await Scenario(quiet, observer=database, fault=fault).run()
    assert sorted(set(quiet.commits)) == sorted(COMMITS[fault])


@pytest.mark.parametrize(("fault", "crash", "repeats"), list(_parameters()))
async def test_job_ends_as_it_should(database, make_database, fault, crash, repeats):
    crash_database = make_database(crash)
    await Scenario(crash_database, observer=database, fault=fault, repeats=repeats).run()
    assert crash_database.has_crashed
    await verify(database)
    jobs = await rows(database, "SELECT id, status, result FROM jobs")
    assert len(jobs) == expected_number_of_jobs(crash, repeats=repeats)
    for job in jobs:
        await check_results(database, job, fault)


def expected_number_of_jobs(crash, *, repeats):
    """Return how many jobs there are: a client that never learns may have stored two, or none."""
    commit, when = crash
    if not commit.startswith("client"):
        return 1
    return (1 if when == When.AFTER else 0) + (1 if repeats else 0)


async def check_results(database, job, fault):
    """Check that the job has ended well, and that everything is there once."""
    query = "SELECT {} FROM {} WHERE job_id = :job_id ORDER BY 1"
    values = "metrics JOIN metric_series ON metric_series.id = series_id"
    metrics = await rows(database, query.format("name, step, value", values), job_id=job.id)
    checkpoints = await rows(database, query.format("step, status", "checkpoints"), job_id=job.id)
    artifacts = await rows(database, query.format("name", "artifacts"), job_id=job.id)
    assert metrics == [("bits_per_dim", 2, 2.0), ("loss", 2, 1.0)]
    assert checkpoints == [(1, "committed")]
    if fault == Fault.CANCEL:
        assert job.status == "cancelled"
    else:
        assert (job.status, job.result) == ("succeeded", {"step": 2})
        assert artifacts == [("samples.png",)]
