"""How long a job waits on an idle system: until its node has claimed it, and until its first step.

`python -m benchmarks.job_start [--claims N] [--starts N]`. A service of its own is started for it,
with one node of two slots. Claims are measured with the broker and without it, with a trainer that
ends at once; first steps with the real trainer of `mnist-test`, beside what importing torch takes
in a process of its own, measured in turn: torchrun imports it, and then each rank does.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import select

from nvae_core.config import BundledSource
from nvae_core.run_directory import RunDirectory
from services.api.jobs.submission import register_dataset, submit_job
from services.database import jobs
from services.database.migrate import migrate
from services.database.session import Database
from services.database.tables import Attempt, Member, Node
from services.domain.specs import DatasetSpec, TrainSpec
from services.domain.states import TERMINAL, MemberStatus
from services.local import processes
from services.local.stack import running_servers
from services.local.state import create_folder
from services.settings import DatabaseSettings

LOOK_SECONDS = 0.002
SPEC = TrainSpec(
    preset="mnist-test", dataset="digits", overrides={"optimization.epochs": 1}, name="benchmark"
)
NO_TRAINER = {"NVAE_WORKER_TRAINER_COMMAND": json.dumps(["/bin/false"])}


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", type=int, default=100)
    parser.add_argument("--starts", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        environment = running.enter_context(running_servers(Path(folder)))
        migrate(DatabaseSettings(url=environment["NVAE_DATABASE_URL"]))
        stack = Services(Path(folder), environment)
        running.callback(stack.stop)
        with asyncio.Runner() as runner:
            database = Database(DatabaseSettings(url=environment["NVAE_DATABASE_URL"]))
            try:
                runner.run(measure(stack, database, arguments.claims, arguments.starts))
            finally:
                runner.run(database.close())


class Services:
    """A scheduler and a worker over servers that run already."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = create_folder(folder)
        self._environment = {**os.environ, **environment}
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, **settings: str) -> None:
        """Start both, in place of those that run."""
        self.stop()
        worker = {
            "NVAE_WORKER_NODE_NAME": "n1",
            "NVAE_WORKER_DATA_FOLDER": str(self._folder / "worker"),
            "NVAE_WORKER_SLOTS": "2",
        }
        for name in ("scheduler", "worker"):
            process = processes.start(
                (sys.executable, "-m", f"services.{name}"),
                environment={**self._environment, **worker, **settings},
                log=self._folder / "logs" / f"{name}.log",
            )
            self._running.append(process)

    def stop(self) -> None:
        """Stop both."""
        while self._running:
            processes.stop(self._running.pop(), signal.SIGTERM, grace_seconds=10)

    def kill_broker(self) -> None:
        """Kill Valkey."""
        for pid in processes.server_processes(self._folder / "valkey"):
            os.kill(pid, signal.SIGKILL)

    def has_stepped(self) -> bool:
        """Whether a rank of an attempt of this node has taken a step and still runs."""
        runs = (self._folder / "worker" / "attempts").glob("*/run")
        found = [RunDirectory(run) for run in runs if not (run / "result.json").exists()]
        return any(rank.step > 0 for run in found for rank in run.read_ranks().values())


async def measure(stack: Services, database: Database, num_claims: int, num_starts: int) -> None:
    """Measure first steps, then claims with and without the broker."""
    stack.start()
    await wait_for_node(database)
    source = DatasetSpec(name="digits", source=BundledSource(name="mnist_5k"))
    async with database.transaction() as session:
        _, preparation = await register_dataset(session, source, project="default", s3_prefixes=())
    await wait_for_end(database, preparation.id)

    async def has_stepped(*_: object) -> bool:
        return stack.has_stepped()

    imports, first_steps = [], []
    for _ in range(num_starts):
        imports.append(import_torch())
        first_steps.append(await time_of(database, has_stepped))
    importing, stepping = statistics.median(imports), statistics.median(first_steps)
    print(
        f"submit to first step: {stepping:.2f} s, importing torch once {importing:.2f} s; "
        f"without one import {stepping - importing:.2f} s, without both "
        f"{stepping - 2 * importing:.2f} s (medians of {num_starts})"
    )
    stack.start(**NO_TRAINER)
    await time_of(database, is_claimed)
    report("submit to claimed", [await time_of(database, is_claimed) for _ in range(num_claims)])
    stack.kill_broker()
    without = [await time_of(database, is_claimed) for _ in range(num_claims // 4)]
    report("submit to claimed, broker down", without)


def report(what: str, seconds: list[float]) -> None:
    """Print the percentiles."""
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    print(
        f"{what}: p50 {statistics.median(ordered):.3f} s, p99 {p99:.3f} s, "
        f"longest {ordered[-1]:.3f} s ({len(ordered)} jobs)"
    )


async def time_of(
    database: Database, has_come: Callable[[Database, str], Awaitable[bool]]
) -> float:
    """Submit a job, and return after how long this was so; then wait until all is idle again."""
    began_at = time.perf_counter()
    async with database.transaction() as session:
        job = await submit_job(session, SPEC, project="default")
    while not await has_come(database, job.id):
        await asyncio.sleep(LOOK_SECONDS)
    seconds = time.perf_counter() - began_at
    await wait_for_end(database, job.id)
    return seconds


async def is_claimed(database: Database, job_id: str) -> bool:
    """Whether the job's node has taken it."""
    query = select(Member.status).join(Attempt).where(Attempt.job_id == job_id)
    async with database.transaction() as session:
        return (await session.scalar(query)) not in {None, MemberStatus.PLACED}


async def wait_for_end(database: Database, job_id: str) -> None:
    """Return when the job has ended."""
    while True:
        async with database.transaction() as session:
            if (await jobs.find(session, job_id)).status in TERMINAL:
                return
        await asyncio.sleep(0.05)


async def wait_for_node(database: Database) -> None:
    """Return when the node has registered."""
    while True:
        async with database.transaction() as session:
            if await session.scalar(select(Node.id)) is not None:
                return
        await asyncio.sleep(0.05)


def import_torch() -> float:
    """Return how long a process takes that only imports torch."""
    began_at = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - began_at


if __name__ == "__main__":
    main()
