"""What a user does, over HTTP on a real stack: train, evaluate, sample, download, recover."""

import hashlib
import json
import os
import signal
import struct
from pathlib import Path

import httpx
import pytest
from PIL import Image
from waiting import wait_until

from nvae_client import JobFailed
from services.local.stack import server_environment
from services.local.state import load_or_create
from services.processes import find_marked
from services.settings import StorageSettings
from services.storage.s3 import S3Storage

TRAIN = {"kind": "train", "preset": "mnist-test", "dataset": "mnist"}


@pytest.fixture(scope="module")
def dataset(client):
    registered = client.datasets.register("mnist", {"kind": "bundled", "name": "mnist_5k"})
    registered.job.wait()
    return registered.dataset


@pytest.fixture(scope="module")
def trained(client, dataset):
    """A job that trained on two ranks."""
    return client.jobs.submit(TRAIN | {"resources": {"slots": 2}, "seed": 1}).wait()


@pytest.fixture(scope="module")
def checkpoint(client, trained):
    return trained.checkpoints()[-1]


def test_training_on_two_ranks_reports_its_progress(client, trained):
    loss = trained.metrics()["loss"]
    assert trained.progress.step == trained.progress.num_steps == loss["step"][-1]
    assert loss["step"] == sorted(set(loss["step"]))
    assert loss["value"][-1] < loss["value"][0]
    assert trained.num_parameters > 10_000


def test_checkpoint_is_downloaded_with_the_right_checksums(client, checkpoint, tmp_path):
    folder = checkpoint.download(tmp_path / "checkpoint")
    for file in checkpoint.files:
        content = (folder / file.name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file.sha256
    assert {"model.safetensors", "checkpoint.json"} <= {path.name for path in folder.iterdir()}


def test_evaluation_and_sampling_of_the_checkpoint(client, checkpoint, tmp_path):
    common = {"checkpoint": checkpoint.id}
    evaluation = client.jobs.submit(
        common | {"kind": "evaluate", "dataset": "mnist", "importance_samples": 2}
    )
    samplings = [
        client.jobs.submit(common | {"kind": "sample", "temperature": 0.8, "seed": seed})
        for seed in (3, 3, 4)
    ]
    result = evaluation.wait().result
    assert result["num_images"] == 500
    assert result["importance_weighted_nll"] <= result["negative_elbo"] < 543  # 784 ln 2
    grids = []
    for index, sampling in enumerate(samplings):
        [artifact] = sampling.wait().pictures()
        path = artifact.download(tmp_path / f"{index}.png")
        with Image.open(path) as grid:
            assert grid.size[0] > 8 * 28
        grids.append(path.read_bytes())
    assert grids[0] == grids[1] != grids[2]


def test_evaluation_on_two_ranks_goes_on_where_it_was_after_a_pause_and_a_kill(
    client, stack, checkpoint
):
    spec = {"kind": "evaluate", "checkpoint": checkpoint.id, "dataset": "mnist"}
    spec |= {"importance_samples": 500, "num_images": 60, "batch_size": 2}
    undisturbed = client.jobs.submit(spec).wait()
    job = client.jobs.submit(spec | {"resources": {"slots": 2}})
    wait_until(lambda: (job.refresh().progress.step or 0) >= 4)
    job.pause()
    wait_until(lambda: job.refresh().status == "paused")
    saved = job.refresh().progress.step
    job.resume()
    wait_until(lambda: job.refresh().progress.step > saved)
    os.kill(runner_pid(stack), signal.SIGKILL)
    ended = job.wait()
    assert ended.num_attempts == 3
    assert ended.result == undisturbed.result
    configs = (stack.folder / "worker" / "attempts").glob("*/run/config.json")
    resumed = [json.loads(path.read_bytes()).get("resume_from") for path in configs]
    assert sum(1 for path in resumed if path and "likelihoods" in path) == 2


def test_checkpoint_that_was_downloaded_is_imported_and_is_the_same(
    client, stack, checkpoint, tmp_path
):
    checkpoint.download(stack.sources / "downloaded")
    job = client.checkpoints.import_from("folder", "downloaded").wait()
    [imported] = job.checkpoints()
    assert (imported.step, imported.files) == (checkpoint.step, checkpoint.files)
    pictures = [
        client.jobs.draw({"checkpoint": found.id, "temperature": 0.8, "fixed_scales": 1}).picture
        for found in (checkpoint, imported)
    ]
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("content", [b"no checkpoint", None], ids=["nonsense", "program"])
def test_file_that_is_no_checkpoint_is_refused_by_name_and_runs_nothing(
    client, stack, content, tmp_path
):
    path = stack.sources / "hostile.pt"
    if content is None:
        import torch  # only here: to load it takes seconds

        torch.save({"state_dict": Touches(tmp_path / "ran")}, path)
    else:
        path.write_bytes(content)
    job = client.checkpoints.import_from("published", "hostile.pt")
    with pytest.raises(JobFailed, match=r"hostile\.pt"):
        job.wait()
    assert not job.checkpoints()
    assert not (tmp_path / "ran").exists()


def read(stack, path):
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    return httpx.get(stack.url + path, headers=headers, trust_env=False).raise_for_status().content


class Touches:
    """When it is unpickled the way that pickle does it, a file appears."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return Path.touch, (self._path,)


def test_secrets_are_in_no_process_arguments_no_log_and_no_view(client, stack, dataset):
    job = client.jobs.submit(TRAIN | {"overrides": {"optimization.epochs": 500}})
    seen = []

    def look_once(now):
        if not seen and now.status == "running" and (now.progress.step or 0) > 0:
            marker = f"NVAE_STACK={load_or_create(stack.folder).stack_id}"
            seen.extend(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in find_marked(marker))
            job.cancel()

    with pytest.raises(JobFailed):
        job.wait(on_change=look_once, look_seconds=1)
    assert len(seen) >= 7  # three servers, three services, a trainer
    logs = stack.logs()
    assert any(b"attempt.started" in log for log in logs)
    views = [read(stack, f"/v1/jobs/{job.id}{part}") for part in ("", "/events", "/logs")]
    kept = load_or_create(stack.folder)
    names = ("postgres_password", "valkey_password", "s3_secret_key", "api_key")
    for name in names:
        secret = getattr(kept, name).encode()
        assert not any(secret in text for text in (*seen, *logs, *views)), name


def test_analyses_of_a_checkpoint_and_of_its_job(client, trained, checkpoint, tmp_path):
    of_images = {"analysis": "nearest_images", "checkpoint": checkpoint.id, "dataset": "mnist"}
    of_jobs = {"analysis": "training_curves", "jobs": [trained.id]}
    for spec in (of_images, of_jobs):
        job = client.jobs.submit({"kind": "analyze"} | spec).wait()
        found = {artifact.name: artifact for artifact in job.artifacts()}
        assert {f"{spec['analysis']}.json", f"{spec['analysis']}.png"} <= found.keys()
        picture = found[f"{spec['analysis']}.png"].download(tmp_path / "p")
        with Image.open(picture) as image:
            assert image.size[0] > 7 * 3 * 28
    numbers = found["training_curves.json"].download(tmp_path / "n")
    [curve] = json.loads(numbers.read_bytes())["curves"]["loss (nats)"]
    assert curve["steps"] == trained.metrics()["loss"]["step"]


def test_killed_runner_is_replaced_and_training_ends_well(client, stack, dataset):
    spec = TRAIN | {"checkpoint": {"every_steps": 8}, "overrides": {"optimization.epochs": 2}}
    job = client.jobs.submit(spec)
    killed = []

    def kill_once(seen):
        if not killed and (seen.progress.step or 0) >= 10:
            killed.append(runner_pid(stack))
            os.kill(killed[0], signal.SIGKILL)

    ended = job.wait(on_change=kill_once, look_seconds=1)
    assert ended.num_attempts == 2
    assert ended.metrics()["loss"]["step"][-1] == ended.progress.num_steps


def runner_pid(stack) -> int:
    marked = find_marked(f"NVAE_PARENT_LOCK={parent_lock_of(stack)}")
    [pid] = [pid for pid in marked if Path(f"/proc/{pid}/comm").read_text() == "nvae-runner\n"]
    return pid


def parent_lock_of(stack) -> Path:
    return stack.folder / "supervisor.lock"


def test_running_job_is_cancelled_with_a_checkpoint(client, dataset):
    job = client.jobs.submit(TRAIN | {"overrides": {"optimization.epochs": 500}})

    def cancel_once(seen):
        if seen.status == "running" and (seen.progress.step or 0) > 0:
            job.cancel()

    with pytest.raises(JobFailed) as failure:
        job.wait(on_change=cancel_once, look_seconds=1)
    assert failure.value.job.status == "cancelled"
    assert job.checkpoints()


def test_corrupt_image_is_named_and_nothing_is_stored(client, image_folder):
    folder = image_folder("broken", 4)
    (folder / "002.png").write_bytes((folder / "003.png").read_bytes()[:40])
    source = {"kind": "folder", "path": "broken", "image_size": 28, "num_colors": 1}
    registered = client.datasets.register("broken", source)
    with pytest.raises(JobFailed, match=r"source\.path: .*002\.png") as failure:
        registered.job.wait()
    assert failure.value.job.reason == "invalid_dataset"
    shown = client.datasets.get(registered.dataset.id)
    assert (shown.status, shown.content_hash) == ("failed", None)


def test_folder_of_images_becomes_a_data_set(client, image_folder):
    image_folder("plain", 20)
    source = {"kind": "folder", "path": "plain", "image_size": 28, "num_colors": 1}
    registered = client.datasets.register("plain", source)
    registered.job.wait()
    shown = client.datasets.get("plain")
    assert shown.status == "ready"
    assert sum(split["num_images"] for split in shown.description["splits"].values()) == 20


def test_source_in_s3_is_copied_prepared_and_dropped(client, stack, tmp_path):
    environment = server_environment(stack.folder, load_or_create(stack.folder))
    names = ("endpoint_url", "bucket", "access_key", "secret_key")
    settings = StorageSettings(**{name: environment[f"NVAE_S3_{name.upper()}"] for name in names})
    for stem, count in (("train-images", 30), ("t10k-images", 10)):
        name = f"{stem}-idx3-ubyte"
        (tmp_path / name).write_bytes(struct.pack(">4I", 0x0803, count, 8, 8) + bytes(count * 64))
        S3Storage(settings).upload(tmp_path / name, f"datasets/digits/{name}")
    source = {"kind": "mnist", "path": f"s3://{settings.bucket}/datasets/digits"}
    registered = client.datasets.register("digits", source)
    registered.job.wait()
    shown = client.datasets.get("digits")
    assert shown.description["source"] == source
    counts = {name: split["num_images"] for name, split in shown.description["splits"].items()}
    assert counts == {"train": 30, "test": 10}
    wait_until(lambda: not list(stack.folder.glob("worker/attempts/*/source*")))


def test_logs_are_events_with_job_and_attempt(stack, trained):
    lines = [line for log in stack.logs("runner.log") for line in log.splitlines()]
    events = [json.loads(line) for line in lines]
    started = [event for event in events if event["event"] == "attempt.started"]
    assert any(event["job_id"] == trained.id and event["attempt"] == 1 for event in started)
