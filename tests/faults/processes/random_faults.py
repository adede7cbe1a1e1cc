"""Faults at random, one after the other, until told to stop; the seed decides which."""

import random
import time
from collections import Counter
from collections.abc import Callable
from signal import SIGKILL

from cluster import Cluster


class RandomFaults:
    """Kills and cuts what many jobs run on."""

    def __init__(self, cluster: Cluster, seed: int, nodes: dict[str, Callable[[], None]]) -> None:
        self._cluster = cluster
        self._random = random.Random(seed)
        self._nodes = nodes  # how each is started
        self.counts: Counter[str] = Counter()

    def strike(self, *, spare_jobs: bool) -> None:
        """Do one thing to the cluster; when jobs are spared, to no process of a single one."""
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
        found = self._cluster.attempt_processes(kind)
        if kind == "rank":
            running = "SELECT attempts.id FROM attempts JOIN jobs ON jobs.id = job_id"
            rows = self._cluster.query(f"{running} WHERE step > 0 AND attempts.finished_at IS NULL")
            trained = {attempt_id for (attempt_id,) in rows}
            found = [process for process in found if any(id_ in process.where for id_ in trained)]
        if found:
            self._random.choice(found).send(SIGKILL)
