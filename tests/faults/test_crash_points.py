"""Every commit is a crash point: a process that dies before it or after it harms no job."""

from itertools import product

import pytest
import service_calls
from building import add_dataset
from fault_options import IS_FULL
from observation import rows
from promises import verify
from scenario import NODES, CrashingDatabase, Fault, Scenario, When

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

GONE = ("client", "runner")
"""Who may be gone after a crash; the others are started anew."""


SAME_OPERATION = ("worker node_b", "worker node_c", "runner 1 renews", "runner 1 loads")
"""Commits that do on another node what one of the list does on the first."""


def _is_chosen(fault, commit, when, *, repeats):
    """Whether a crash point is one of those that every run tries; the others are for a full one.

    Every operation is tried on one node, before its commit by whoever does it again, and after it
    by whoever is gone, where it can be; with a fault only what happens after the start.
    """
    if IS_FULL:
        return fault == Fault.NONE or commit != START[0]  # of one job only
    is_start = fault != Fault.NONE and commit in START
    is_extreme = repeats == (when == When.BEFORE) or not commit.startswith(GONE)
    return is_extreme and not is_start and not commit.startswith(SAME_OPERATION)


def _crash_points():
    for fault, commits in COMMITS.items():
        for commit, when in product(commits, When):
            for repeats in (True, False) if commit.startswith(GONE) else (True,):
                if not _is_chosen(fault, commit, when, repeats=repeats):
                    continue
                then = "goes on" if repeats else "is gone"
                name = f"{fault}-{commit}-{when}-{then}"
                yield pytest.param(fault, (commit, when), repeats, id=name.replace(" ", "_"))


@pytest.fixture
async def stage(servers, database):
    """Whatever makes a database that crashes, beside three nodes with one slot each."""
    await add_dataset(database)
    for node_id in NODES:
        await service_calls.register(database, node_id, num_slots=1)
    settings = DatabaseSettings(url=servers["NVAE_DATABASE_URL"], pool_size=1)
    made = []

    def make(crash=None):
        made.append(CrashingDatabase(settings, crash=crash))
        return made[-1]

    yield make
    for crashing in made:
        await crashing.close()


@pytest.mark.parametrize("fault", list(Fault))
async def test_every_commit_is_known(database, stage, fault):
    quiet = stage()
    await Scenario(quiet, witness=database, fault=fault).play()
    assert sorted(set(quiet.commits)) == sorted(COMMITS[fault])


@pytest.mark.parametrize(("fault", "crash", "repeats"), list(_crash_points()))
async def test_job_ends_as_it_should(database, stage, fault, crash, repeats):
    crashing = stage(crash)
    await Scenario(crashing, witness=database, fault=fault, repeats=repeats).play()
    assert crashing.has_crashed
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
