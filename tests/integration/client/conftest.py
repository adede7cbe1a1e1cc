"""A whole service on free ports, and a client with its key: what the client says must hold here."""

import subprocess
import sys
from dataclasses import dataclass

import pytest

from nvae_client import NvaeClient
from services.local.state import free_ports

TRAIN = {"kind": "train", "preset": "mnist-test", "dataset": "digits"}


@dataclass(frozen=True)
class Service:
    url: str
    api_key: str


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stack")
    [port] = free_ports(1)
    stack = [sys.executable, "-m", "services.local"]
    options = ["--data", str(folder), "--api-port", str(port), "--slots", "2"]
    subprocess.run([*stack, "up", "--detach", *options], check=True, timeout=180)
    yield Service(f"http://127.0.0.1:{port}", (folder / "api_key").read_text().strip())
    subprocess.run([*stack, "down", "--data", str(folder)], check=True, timeout=180)


@pytest.fixture(scope="module")
def client(service):
    with NvaeClient(service.url, service.api_key) as client:
        yield client


@pytest.fixture(scope="module")
def dataset(client):
    """A data set that is ready."""
    registration = client.datasets.register("digits", {"kind": "bundled", "name": "mnist_5k"})
    registration.job.wait()
    return client.datasets.get("digits")


@pytest.fixture
def long_job(client, dataset):
    """A job that trains for as long as the test needs it."""
    job = client.jobs.submit(TRAIN | {"overrides": {"optimization.epochs": 10_000}})
    yield job
    job.cancel(force=True)


@pytest.fixture
def wait_for():
    """Return a function that returns the job once it has a status, or is so far."""

    def wait(job, status, step=0):
        for seen in job.changes(look_seconds=1):
            if seen.status == status and (seen.progress.step or 0) >= step:
                return seen
        raise AssertionError(f"{seen.status}: {seen.message}")

    return wait
