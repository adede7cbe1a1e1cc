"""kill -9 of every part of a stack, one after the other, while a job trains."""

import os
import signal
from pathlib import Path

import httpx
from waiting import wait_until

from nvae_client import NvaeClient
from services.local import state


def children(pid: int) -> dict[int, str]:
    """Return the direct children of a process with their command lines."""
    found = {}
    for process in Path("/proc").iterdir():
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid:
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(process.name)] = command
        except (ValueError, OSError):
            continue
    return found


def test_job_survives_the_death_of_every_part(stack):
    parts = ("postgres", "valkey", "weed", "services.api", "services.scheduler", "services.worker")
    supervisor = state.supervisor_pid(stack.folder)

    def part(name):
        [pid] = [pid for pid, command in children(supervisor).items() if name in command]
        return pid

    def is_ready():
        try:
            return httpx.get(f"{stack.url}/readyz", trust_env=False).json()["broker"]
        except (httpx.TransportError, ValueError):
            return False

    with NvaeClient(stack.url, stack.api_key) as client:
        client.datasets.register("mnist", {"kind": "bundled", "name": "mnist_5k"}).job.wait()
        spec = {"kind": "train", "preset": "mnist-test", "dataset": "mnist"}
        longer = {"overrides": {"optimization.epochs": 5}, "checkpoint": {"every_steps": 10}}
        job = client.jobs.submit(spec | longer)
        wait_until(lambda: (job.refresh().progress.step or 0) > 0)
        queued = client.jobs.submit(spec | {"resources": {"slots": 2}, "name": "waits"})

        for name in parts:
            killed = part(name)
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda killed=killed: killed not in children(supervisor))
            wait_until(is_ready)
            wait_until(lambda name=name: any(name in c for c in children(supervisor).values()))

        for ended in (job.wait(), queued.wait()):
            steps = ended.metrics()["loss"]["step"]
            assert steps[-1] == ended.progress.num_steps
            assert steps == sorted(set(steps))
            numbers = [event.number for event in ended.events(follow=False)]
            assert numbers == list(range(1, len(numbers) + 1))
        assert job.refresh().num_attempts == 1  # no part that died took the training along
