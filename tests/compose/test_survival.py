"""Restarts, kills, `down` and `up`, and a restored backup: nothing that was accepted is lost."""

import subprocess

import pytest
from commands import ROOT, tell
from installation import wait_until

# httpx lets go of connections whose server has gone without closing them.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
SERVICES = ("postgres", "valkey", "seaweedfs", "s3", "api", "scheduler", "worker")
TRAIN = {"kind": "train", "preset": "mnist-test", "dataset": "mnist"}
KILL_WORKER = r"""
import os, pathlib, signal
for command in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    if command.read_bytes().endswith(b"-m\0services.worker\0"):
        os.kill(int(command.parent.name), signal.SIGKILL)
"""
LONG = {"overrides": {"optimization.epochs": 400}, "checkpoint": {"every_steps": 20}}


@pytest.fixture(scope="module")
def long_job(up, client):
    """A job that trains for longer than what is done to it."""
    if "mnist" not in {dataset.name for dataset in client.datasets.list()}:
        client.datasets.register("mnist", {"kind": "bundled", "name": "mnist_5k"}).job.wait(
            timeout_seconds=120
        )
    job = client.jobs.submit(TRAIN | LONG | {"name": "long"})
    yield job
    if job.refresh().status not in {"cancelled", "succeeded"}:
        job.cancel()


def step_of(job):
    """Return the last step that is known, 0 while the job does not run."""
    now = job.refresh()
    return now.progress.step or 0 if now.status == "running" else 0


def trains(job):
    return step_of(job) > 0


def has_gone_on(job, step):
    return step_of(job) > step


def everything(client, tmp_path):
    """Return all that a user has stored: jobs, and the files of a checkpoint, checked."""
    jobs = {job.id: (job.kind, job.name) for job in client.jobs.list()}
    [demo] = [job for job in client.jobs.list() if job.name == "demo"]
    checkpoint = demo.checkpoints()[-1]
    folder = checkpoint.download(tmp_path / "checkpoint")  # raises if a sha256 is wrong
    return jobs, {path.name: path.read_bytes() for path in folder.iterdir()}


def test_job_does_not_notice_new_containers_of_api_and_scheduler(up, long_job):
    wait_until(lambda: trains(long_job))
    step = step_of(long_job)
    up.up("--force-recreate", "--no-deps", "api", "scheduler")
    wait_until(lambda: has_gone_on(long_job, step))
    assert [attempt.status for attempt in long_job.attempts()] == ["running"]


def test_stopped_worker_saves_its_job_and_goes_on_with_it(up, long_job):
    wait_until(lambda: trains(long_job))
    up.compose("stop", "worker")
    attempt = long_job.attempts()[-1]
    assert (attempt.status, attempt.reason) == ("finished", "drained")
    saved = max(checkpoint.step for checkpoint in long_job.checkpoints())
    up.up()
    wait_until(lambda: has_gone_on(long_job, saved))
    assert len(long_job.attempts()) == 2


@pytest.mark.parametrize("service", SERVICES)
def test_killed_service_comes_back(up, client, long_job, service):
    wait_until(lambda: trains(long_job), within_seconds=120)
    step = step_of(long_job)
    container = up.containers()[service]
    up.kill(service)
    wait_until(lambda: up.containers().get(service) == container)
    back = wait_until(lambda: all(map(up.is_healthy, SERVICES)))
    on = wait_until(lambda: has_gone_on(long_job, step), within_seconds=120)
    tell(f"  all healthy after {back:.1f} s; the job goes on after {back + on:.1f} s")


def test_killed_worker_process_is_started_anew_and_its_runners_go_on(up, long_job):
    wait_until(lambda: trains(long_job), within_seconds=120)
    attempts = len(long_job.attempts())
    step = step_of(long_job)
    up.inside("worker", "python", "-c", KILL_WORKER)
    wait_until(lambda: not up.fails_inside("worker", "python", "-m", "services.worker.health"))
    wait_until(lambda: has_gone_on(long_job, step))
    assert len(long_job.attempts()) == attempts


def test_down_and_up_lose_nothing(up, client, long_job, tmp_path):
    before = everything(client, tmp_path / "before")
    step = max(checkpoint.step for checkpoint in long_job.checkpoints())
    up.compose("down")
    up.up()
    assert everything(client, tmp_path / "after") == before
    wait_until(lambda: has_gone_on(long_job, step), within_seconds=120)


def test_backup_is_restored_into_an_empty_installation(up, client, long_job, tmp_path):
    backup = tmp_path / "backup"
    scripts = {
        name: str(ROOT / "deploy" / "compose" / f"{name}.sh") for name in ("backup", "restore")
    }

    def script(name, folder):
        tell(f"$ deploy/compose/{name}.sh {folder.name}")
        command = ["sh", scripts[name], str(folder)]
        return subprocess.run(
            command, env=up.environment, cwd=ROOT, check=False, capture_output=True, text=True
        )

    before = everything(client, tmp_path / "before")
    made = script("backup", backup)
    assert made.returncode == 0, made.stderr
    refused = script("restore", backup)
    assert refused.returncode != 0
    assert "is not empty" in refused.stderr
    up.compose("down", "--volumes", "--timeout=5")
    restored = script("restore", backup)
    assert restored.returncode == 0, restored.stderr
    up.up()
    assert everything(client, tmp_path / "after") == before
    wait_until(lambda: trains(long_job), within_seconds=120)
    evaluate = {"kind": "evaluate", "dataset": "mnist", "importance_samples": 2}
    checkpoint = long_job.checkpoints()[-1]
    long_job.cancel()
    result = (
        client.jobs.submit(evaluate | {"checkpoint": checkpoint.id})
        .wait(timeout_seconds=120)
        .result
    )
    assert result["num_images"] == 500
