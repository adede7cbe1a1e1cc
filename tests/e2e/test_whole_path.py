"""What a user does, over HTTP on a real stack: train, evaluate, sample, download, recover."""

import hashlib
import json
import os
import signal
import struct
from pathlib import Path

import pytest
from PIL import Image

from nvae_client import JobFailed
from services.adapters.processes import find_marked
from services.adapters.s3_storage import S3Storage
from services.local.environment import server_environment
from services.local.stack_file import load_or_create
from services.settings import StorageSettings

TRAIN = {"kind": "train", "preset": "mnist-test", "dataset": "mnist"}


@pytest.fixture(scope="module")
def dataset(client):
    registered = client.register_dataset("mnist", {"kind": "bundled", "name": "mnist_5k"})
    client.wait(registered["job"]["id"])
    return registered["dataset"]


@pytest.fixture(scope="module")
def trained(client, dataset):
    """A job that trained on two ranks."""
    job = client.submit(TRAIN | {"resources": {"slots": 2}, "seed": 1})
    return client.wait(job["id"])


@pytest.fixture(scope="module")
def checkpoint(client, trained):
    return client.checkpoints(trained["id"])[-1]


def test_training_on_two_ranks_reports_its_progress(client, trained):
    loss = client.metrics(trained["id"])["loss"]
    assert trained["progress"]["step"] == trained["progress"]["num_steps"] == loss["steps"][-1]
    assert loss["steps"] == sorted(set(loss["steps"]))
    assert loss["values"][-1] < loss["values"][0]
    assert trained["num_parameters"] > 10_000


def test_checkpoint_is_downloaded_with_the_right_checksums(client, checkpoint, tmp_path):
    folder = client.download_checkpoint(checkpoint, tmp_path / "checkpoint")
    for file in checkpoint["files"]:
        content = (folder / file["name"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
    assert {"model.safetensors", "checkpoint.json"} <= {path.name for path in folder.iterdir()}


def test_evaluation_and_sampling_of_the_checkpoint(client, checkpoint, tmp_path):
    common = {"checkpoint": checkpoint["id"]}
    evaluation = client.submit(
        common | {"kind": "evaluate", "dataset": "mnist", "importance_samples": 2}
    )
    samplings = [
        client.submit(common | {"kind": "sample", "temperature": 0.8, "seed": seed})
        for seed in (3, 3, 4)
    ]
    result = client.wait(evaluation["id"])["result"]
    assert result["num_images"] == 500
    assert result["importance_weighted_nll"] <= result["negative_elbo"] < 543  # 784 ln 2
    grids = []
    for index, sampling in enumerate(samplings):
        client.wait(sampling["id"])
        [artifact] = client.artifacts(sampling["id"])
        path = client.download_artifact(sampling["id"], artifact, tmp_path / f"{index}.png")
        with Image.open(path) as grid:
            assert grid.size[0] > 8 * 28
        grids.append(path.read_bytes())
    assert grids[0] == grids[1] != grids[2]


def test_evaluation_on_two_ranks_goes_on_where_it_was_after_a_pause_and_a_kill(
    client, stack, checkpoint, wait_until
):
    spec = {"kind": "evaluate", "checkpoint": checkpoint["id"], "dataset": "mnist"}
    spec |= {"importance_samples": 500, "num_images": 100, "batch_size": 2}
    undisturbed = client.wait(client.submit(spec)["id"])
    job = client.submit(spec | {"resources": {"slots": 2}})
    wait_until(lambda: (client.job(job["id"])["progress"]["step"] or 0) >= 4)
    client.pause(job["id"])
    wait_until(lambda: client.job(job["id"])["status"] == "paused")
    saved = client.job(job["id"])["progress"]["step"]
    client.resume(job["id"])
    wait_until(lambda: client.job(job["id"])["progress"]["step"] > saved)
    os.kill(runner_pid(stack), signal.SIGKILL)
    ended = client.wait(job["id"])
    assert ended["num_attempts"] == 3
    assert ended["result"] == undisturbed["result"]
    configs = (stack.folder / "worker" / "attempts").glob("*/run/config.json")
    resumed = [json.loads(path.read_bytes()).get("resume_from") for path in configs]
    assert sum(1 for path in resumed if path and "likelihoods" in path) == 2


def test_analyses_of_a_checkpoint_and_of_its_job(client, trained, checkpoint, tmp_path):
    of_images = {"analysis": "nearest_images", "checkpoint": checkpoint["id"], "dataset": "mnist"}
    of_jobs = {"analysis": "training_curves", "jobs": [trained["id"]]}
    for spec in (of_images, of_jobs):
        job = client.wait(client.submit({"kind": "analyze"} | spec)["id"])
        found = {artifact["name"]: artifact for artifact in client.artifacts(job["id"])}
        assert {f"{spec['analysis']}.json", f"{spec['analysis']}.png"} <= found.keys()
        picture = client.download_artifact(
            job["id"], found[f"{spec['analysis']}.png"], tmp_path / "p"
        )
        with Image.open(picture) as image:
            assert image.size[0] > 7 * 3 * 28
    numbers = client.download_artifact(job["id"], found["training_curves.json"], tmp_path / "n")
    [curve] = json.loads(numbers.read_bytes())["curves"]["loss (nats)"]
    assert curve["steps"] == client.metrics(trained["id"])["loss"]["steps"]


def test_killed_runner_is_replaced_and_training_ends_well(client, stack, dataset):
    spec = TRAIN | {"checkpoint": {"every_steps": 4}, "overrides": {"optimization.epochs": 3}}
    job = client.submit(spec)
    killed = []

    def kill_once(seen):
        if not killed and (seen["progress"]["step"] or 0) >= 10:
            killed.append(runner_pid(stack))
            os.kill(killed[0], signal.SIGKILL)

    ended = client.wait(job["id"], on_look=kill_once, interval_seconds=0.2)
    assert ended["num_attempts"] == 2
    steps = client.metrics(job["id"])["loss"]["steps"]
    assert steps[-1] == ended["progress"]["num_steps"]


def runner_pid(stack) -> int:
    marked = find_marked(f"NVAE_LIFELINE={stack_lifeline(stack)}")
    [pid] = [pid for pid in marked if Path(f"/proc/{pid}/comm").read_text() == "nvae-runner\n"]
    return pid


def stack_lifeline(stack) -> Path:
    return stack.folder / "supervisor.lock"


def test_running_job_is_cancelled_with_a_checkpoint(client, dataset):
    job = client.submit(TRAIN | {"overrides": {"optimization.epochs": 500}})

    def cancel_once(seen):
        if seen["status"] == "running" and (seen["progress"]["step"] or 0) > 0:
            client.cancel(job["id"])

    with pytest.raises(JobFailed) as failure:
        client.wait(job["id"], on_look=cancel_once)
    assert failure.value.job["status"] == "cancelled"
    assert client.checkpoints(job["id"])


def test_corrupt_image_is_named_and_nothing_is_stored(client, image_folder):
    folder = image_folder("broken", 4)
    (folder / "002.png").write_bytes((folder / "003.png").read_bytes()[:40])
    source = {"kind": "folder", "path": "broken", "image_size": 28, "num_colors": 1}
    registered = client.register_dataset("broken", source)
    with pytest.raises(JobFailed, match=r"source\.path: .*002\.png") as failure:
        client.wait(registered["job"]["id"])
    assert failure.value.job["reason"] == "invalid_dataset"
    shown = client._get(f"/v1/datasets/{registered['dataset']['id']}")
    assert (shown["status"], shown["content_hash"]) == ("failed", None)


def test_folder_of_images_becomes_a_data_set(client, image_folder):
    image_folder("plain", 20)
    source = {"kind": "folder", "path": "plain", "image_size": 28, "num_colors": 1}
    registered = client.register_dataset("plain", source)
    client.wait(registered["job"]["id"])
    shown = client._get("/v1/datasets/plain")
    assert shown["status"] == "ready"
    assert sum(split["num_images"] for split in shown["description"]["splits"].values()) == 20


def test_source_in_s3_is_copied_prepared_and_dropped(client, stack, tmp_path, wait_until):
    environment = server_environment(stack.folder, load_or_create(stack.folder))
    names = ("endpoint_url", "bucket", "access_key", "secret_key")
    settings = StorageSettings(**{name: environment[f"NVAE_S3_{name.upper()}"] for name in names})
    for stem, count in (("train-images", 30), ("t10k-images", 10)):
        name = f"{stem}-idx3-ubyte"
        (tmp_path / name).write_bytes(struct.pack(">4I", 0x0803, count, 8, 8) + bytes(count * 64))
        S3Storage(settings).upload(tmp_path / name, f"datasets/digits/{name}")
    source = {"kind": "mnist", "path": f"s3://{settings.bucket}/datasets/digits"}
    registered = client.register_dataset("digits", source)
    client.wait(registered["job"]["id"])
    shown = client._get("/v1/datasets/digits")
    assert shown["description"]["source"] == source
    counts = {name: split["num_images"] for name, split in shown["description"]["splits"].items()}
    assert counts == {"train": 30, "test": 10}
    wait_until(lambda: not list(stack.folder.glob("worker/attempts/*/source*")))


def test_logs_are_events_with_job_and_attempt(stack, trained):
    logs = (stack.folder / "worker" / "attempts").rglob("runner.log")
    events = [json.loads(line) for path in logs for line in path.read_text().splitlines()]
    started = [event for event in events if event["event"] == "attempt.started"]
    assert any(event["job_id"] == trained["id"] and event["attempt"] == 1 for event in started)
