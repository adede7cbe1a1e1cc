"""A server that misbehaves on demand, and a client whose time passes at once."""

import pytest
from scripted_server import running_server
from typer.testing import CliRunner

from nvae_client import NvaeClient, RetryPolicy, Timing
from nvae_client.cli.main import app

JOB = {
    "id": "job_1",
    "kind": "train",
    "name": "digits",
    "status": "running",
    "reason": None,
    "message": None,
    "spec": {"preset": "mnist-cpu"},
    "priority": 50,
    "num_nodes": 1,
    "num_slots": 2,
    "progress": {"step": 10, "num_steps": 100},
    "num_attempts": 1,
    "created_at": "2026-01-01T00:00:00Z",
    "something_new": {"from": "a later version"},
}


@pytest.fixture
def server():
    with running_server() as server:
        yield server


class Time:
    """A clock that only sleep moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if seconds:
            self.slept.append(seconds)

    def timing(self) -> Timing:
        return Timing(clock=lambda: self.now, sleep=self.sleep, random=lambda: 1.0)


@pytest.fixture
def passing():
    return Time()


@pytest.fixture
def client(server, passing):
    with NvaeClient(
        server.url, "nvae_key", timing=passing.timing(), retry=RetryPolicy(limit_seconds=20)
    ) as client:
        yield client


@pytest.fixture
def job_answer():
    """Return a function that makes the answer about a job."""
    return lambda **fields: JOB | fields


@pytest.fixture
def run(server, monkeypatch):
    """Return a function that runs the command in this process."""
    monkeypatch.setenv("NVAE_API_URL", server.url)
    monkeypatch.setenv("NVAE_API_KEY", "nvae_key")
    monkeypatch.setenv("COLUMNS", "80")
    runner = CliRunner()
    return lambda *words: runner.invoke(app, [str(word) for word in words])
