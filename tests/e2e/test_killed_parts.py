"""kill -9 of every part of a stack, one after the other, while a job trains."""

import os
import signal
from pathlib import Path

import httpx

from nvae_client import NvaeClient
from services.local import lifeline


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


def test_job_survives_the_death_of_every_part(stack, wait_until):
    parts = ("postgres", "valkey", "weed", "services.api", "services.scheduler", "services.worker")
    supervisor = lifeline.holder(stack.folder)

    def part(name):
        [pid] = [pid for pid, command in children(supervisor).items() if name in command]
        return pid

    def is_ready():
        try:
            return httpx.get(f"{stack.url}/readyz", trust_env=False).json()["broker"]
        except (httpx.TransportError, ValueError):
            return False

    with NvaeClient(stack.url) as client:
        registered = client.register_dataset("mnist", {"kind": "bundled", "name": "mnist_5k"})
        client.wait(registered["job"]["id"])
        spec = {"kind": "train", "preset": "mnist-test", "dataset": "mnist"}
        longer = {"overrides": {"optimization.epochs": 5}, "checkpoint": {"every_steps": 10}}
        job = client.submit(spec | longer)["id"]
        wait_until(lambda: (client.job(job)["progress"]["step"] or 0) > 0)
        queued = client.submit(spec | {"resources": {"slots": 2}, "name": "waits"})["id"]

        for name in parts:
            killed = part(name)
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda killed=killed: killed not in children(supervisor))
            wait_until(is_ready)
            wait_until(lambda name=name: any(name in c for c in children(supervisor).values()))

        for ended in (client.wait(job), client.wait(queued)):
            series = client.metrics(ended["id"])["loss"]
            assert series["steps"][-1] == ended["progress"]["num_steps"]
            assert series["steps"] == sorted(set(series["steps"]))
            url = f"{stack.url}/v1/jobs/{ended['id']}/events"
            numbers = [event["number"] for event in httpx.get(url, trust_env=False).json()]
            assert numbers == list(range(1, len(numbers) + 1))
        assert client.job(job)["num_attempts"] == 1  # no part that died took the training along
