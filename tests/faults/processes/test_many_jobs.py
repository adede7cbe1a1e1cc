"""Thousands of small jobs, while everything they run on is killed at random: each runs, once."""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from signal import SIGKILL

import pytest
from cluster import Cluster, stand_in_settings
from cluster_jobs import add_images, run
from fault_profile import SEED
from invariants import verify
from stand_in_trainer import chain

from services.api.jobs.submission import submit_job
from services.domain.specs import TrainSpec

NUM_NODES, NUM_SLOTS, STEPS = 4, 4, 5
FEW = 40
MANY = int(os.environ.get("NVAE_FAULTS_JOBS", "10000"))
BATCH = 200
PAUSE_SECONDS = 1.0
SPARED = NUM_SLOTS  # the last jobs: every kill would hit the same ones, whose retries wait longer


@pytest.fixture
def locks(tmp_path):
    """A folder in which trainers lock their job, and note that another one trains it too."""
    folder = tmp_path / "locks"
    folder.mkdir()
    return folder


@pytest.fixture
def cluster(tmp_path, locks):
    settings = stand_in_settings("--locks", str(locks)) | {
        "NVAE_WORKER_POLL_SECONDS": "0.3",
        "NVAE_WORKER_KEEP_ATTEMPTS": "50",
    }
    with Cluster(tmp_path / "cluster", **settings) as cluster:
        add_images(cluster.database_url)
        cluster.start_scheduler()
        yield cluster


@pytest.fixture
def nodes(cluster):
    """How each node is started; all are."""

    def start(number):
        return lambda: cluster.start_worker(f"n{number}", number=number, slots=NUM_SLOTS)

    nodes = {f"n{number}": start(number) for number in range(1, NUM_NODES + 1)}
    for start_node in nodes.values():
        start_node()
    return nodes


def submit(cluster, first, count):
    """Submit jobs whose seeds tell them apart."""
    overrides = {"optimization.epochs": STEPS, "optimization.batch_size": 20}

    async def submit_all(database):
        gate = asyncio.Semaphore(8)

        async def submit_one(seed):
            spec = {"kind": "train", "preset": "mnist-test", "dataset": "mnist", "seed": seed}
            spec |= {"overrides": overrides, "checkpoint": {"every_steps": STEPS}}
            async with gate, database.transaction() as session:
                await submit_job(session, TrainSpec.model_validate(spec), project="default")

        await asyncio.gather(*(submit_one(seed) for seed in range(first, first + count)))

    run(cluster.database_url, submit_all)


@pytest.mark.parametrize("num_jobs", [FEW, pytest.param(MANY, marks=pytest.mark.full)])
def test_no_job_is_lost_or_run_twice_at_once_and_no_slot_leaks(
    cluster, nodes, locks, num_jobs, recoveries
):
    faults = RandomFaults(cluster, SEED, nodes)
    submitted, began_at = 0, time.monotonic()
    while (ended := num_ended(cluster)) < num_jobs:
        if submitted < num_jobs and submitted - ended < 2 * BATCH:
            count = min(BATCH, num_jobs - submitted)
            submit(cluster, submitted, count)
            submitted += count
        faults.inject(spare_jobs=num_jobs - ended <= SPARED)
        time.sleep(PAUSE_SECONDS)
        assert faults.counts.total() < 120 + num_jobs, unfinished(cluster)
    injected = ", ".join(f"{fault} {count}" for fault, count in faults.counts.items())
    recoveries.remark(
        f"{num_jobs} jobs in {time.monotonic() - began_at:.0f} s, seed {SEED}; injected: {injected}"
    )
    check(cluster, locks, num_jobs)


def num_ended(cluster):
    ended = "SELECT count(*) FROM jobs WHERE status IN ('succeeded', 'failed', 'cancelled')"
    return cluster.query(ended)[0][0]


def unfinished(cluster):
    return cluster.query(
        "SELECT status, reason, message, count(*) FROM jobs GROUP BY 1, 2, 3 ORDER BY 4 DESC"
    )


def check(cluster, locks, num_jobs):
    run(cluster.database_url, verify)
    statuses = cluster.query("SELECT status, message, count(*) FROM jobs GROUP BY 1, 2")
    assert [(status, count) for status, _, count in statuses] == [("succeeded", num_jobs)], statuses
    results = cluster.query("SELECT (spec->>'seed')::int, result->>'state' FROM jobs ORDER BY 1")
    assert results == [(seed, chain(seed, STEPS)[-1].hex()) for seed in range(num_jobs)]
    [(num_metrics,)] = cluster.query("SELECT count(*) FROM metrics")
    assert num_metrics == num_jobs * STEPS
    assert cluster.query("SELECT count(*) FROM slots WHERE attempt_id IS NOT NULL") == [(0,)]
    assert not (locks / "twice").exists()
    cluster.wait_until(lambda: not any(map(cluster.attempt_processes, ("runner", "rank"))), 15)


class RandomFaults:
    """Kills and cuts what many jobs run on; the seed decides what."""

    def __init__(self, cluster: Cluster, seed: int, nodes: dict[str, Callable[[], None]]) -> None:
        self._cluster = cluster
        self._random = random.Random(seed)
        self._nodes = nodes  # how each is started
        self.counts: Counter[str] = Counter()

    def inject(self, *, spare_jobs: bool) -> None:
        """Inject one fault; when jobs are spared, none that hits a process of a single job."""
        faults = {
            "runner": 0 if spare_jobs else 40,
            "rank": 0 if spare_jobs else 20,
            "worker": 6,
            "scheduler": 3,
            "connections to Postgres": 4,
            "connections to S3": 4,
            "Postgres": 1,
            "S3": 1,
        }
        [fault] = self._random.choices(list(faults), list(faults.values()))
        self.counts[fault] += 1
        self._do(fault)

    def _do(self, fault: str) -> None:
        cluster = self._cluster
        if fault in {"runner", "rank"}:
            self._kill_one(fault)
        elif fault == "worker":
            node = self._random.choice(sorted(self._nodes))
            cluster.kill(f"worker-{node}")
            self._nodes[node]()
        elif fault == "scheduler":
            cluster.kill("scheduler")
            cluster.start_scheduler()
        elif fault == "connections to Postgres":
            cluster.proxies["postgres"].cut()
        elif fault == "connections to S3":
            cluster.proxies["s3"].cut()
        elif fault == "Postgres":
            cluster.kill("postgres")
            cluster.start_server("postgres")
        else:
            cluster.proxies["s3"].refuse()
            time.sleep(1)
            cluster.proxies["s3"].restore()

    def _kill_one(self, kind: str) -> None:
        """Kill a runner, or a trainer whose job has trained: else its crash would end the job."""
        processes = self._cluster.attempt_processes(kind)
        if kind == "rank":
            running = "SELECT attempts.id FROM attempts JOIN jobs ON jobs.id = job_id"
            rows = self._cluster.query(f"{running} WHERE step > 0 AND attempts.finished_at IS NULL")
            trained = {attempt_id for (attempt_id,) in rows}
            processes = [
                process
                for process in processes
                if any(attempt_id in process.where for attempt_id in trained)
            ]
        if processes:
            self._random.choice(processes).send(SIGKILL)
