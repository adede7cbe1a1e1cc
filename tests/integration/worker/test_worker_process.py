"""The worker as a process: the folder is one worker's."""

import contextlib
import fcntl
import os
import subprocess
import sys

import pytest
from waiting import scaled


@pytest.fixture
def start_worker(service_environment, tmp_path):
    """Return a function that starts a worker on the folder of the test."""
    running = []

    def start():
        environment = os.environ | {
            "NVAE_WORKER_NODE_NAME": "only",
            "NVAE_WORKER_DATA_FOLDER": str(tmp_path),
            "NVAE_WORKER_SLOTS": "1",
        }
        command = [sys.executable, "-m", "services.worker"]
        running.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE))
        return running[-1]

    yield start
    for process in running:
        if process.returncode is None:
            process.terminate()
            process.communicate(timeout=scaled(30))


def test_second_worker_of_a_folder_is_refused(start_worker, tmp_path):
    with (tmp_path / "worker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = start_worker()
        _, told = refused.communicate(timeout=scaled(30))
    assert refused.returncode == 1
    assert f"another worker uses {tmp_path}" in told.decode()


async def test_look_at_the_lock_keeps_no_worker_from_starting(start_worker, database, tmp_path):
    worker = start_worker()
    with (tmp_path / "worker.lock").open("w") as lock:
        while not (tmp_path / "node_name").exists():
            assert worker.poll() is None
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                fcntl.flock(lock, fcntl.LOCK_UN)
