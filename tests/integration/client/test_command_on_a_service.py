"""What a person types, against a whole service that trains."""

import json
import os
import signal
import subprocess
import sys

import pytest

TRAIN = ("train", "--preset", "mnist-test", "--dataset", "digits")


@pytest.fixture
def environment(service):
    return os.environ | {"NVAE_API_URL": service.url, "NVAE_API_KEY": service.api_key}


@pytest.fixture
def nvae(environment):
    """Return a function that runs the command to its end."""

    def run(*words):
        command = [sys.executable, "-m", "nvae_client.cli.main", *map(str, words)]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=180
        )

    return run


def test_from_training_to_pictures(nvae, dataset, tmp_path):
    trained = nvae(*TRAIN, "-o", "optimization.epochs=1", "--slots", 2, "--follow")
    assert trained.returncode == 0, trained.stderr
    job = trained.stdout.strip()
    assert "succeeded" in trained.stderr
    shown = json.loads(nvae("show", job, "--json").stdout)
    assert shown["spec"]["overrides"] == {"optimization.epochs": 1}
    [checkpoint] = json.loads(nvae("checkpoints", "list", job, "--json").stdout)

    columns = json.loads(nvae("metrics", job, "loss", "--json").stdout)["loss"]
    assert columns["step"][-1] == shown["progress"]["num_steps"]
    assert f"step {columns['step'][-1]}" in nvae("logs", job, "--tail", 5).stdout
    lines = nvae("events", job, "--json").stdout.splitlines()
    assert json.loads(lines[-1])["type"] == "succeeded"
    assert nvae("watch", job).returncode == 0

    sampled = nvae("sample", checkpoint["id"], "--temperature", 0.7, "-o", tmp_path / "grid.png")
    assert sampled.returncode == 0, sampled.stderr
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")
    several = nvae("sample", checkpoint["id"], "-t", 0.7, "-t", 1, "-o", tmp_path / "grids")
    assert len(several.stdout.split()) == len([*(tmp_path / "grids").iterdir()]) == 2

    words = ("evaluate", checkpoint["id"], "-d", "digits", "--importance-samples", 2)
    evaluated = nvae(*words, "--num-images", 20, "-f", "--json")
    assert json.loads(evaluated.stdout)["result"]["num_images"] == 20
    analyzed = nvae("analyze", "training_curves", job, "-o", tmp_path / "curves", "--json")
    assert "training_curves.png" in {path.name for path in (tmp_path / "curves").iterdir()}
    assert analyzed.returncode == 0

    downloaded = nvae("checkpoints", "download", checkpoint["id"], "-o", tmp_path / "ckpt")
    assert downloaded.stdout.strip() == str(tmp_path / "ckpt")
    assert (tmp_path / "ckpt" / "model.safetensors").exists()


def test_interrupt_detaches_and_cancel_ends_the_job(environment, nvae, wait_for, client, dataset):
    command = [sys.executable, "-m", "nvae_client.cli.main", *TRAIN]
    process = subprocess.Popen(
        [*command, "-o", "optimization.epochs=10000", "-f"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    job = client.jobs.get(process.stdout.readline().strip())
    wait_for(job, "running", step=1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=10)
    assert process.returncode == 130
    assert f"nvae watch {job.id}" in told
    assert job.refresh().status == "running"
    assert nvae("cancel", job.id, "--force").returncode == 0
    assert nvae("watch", job.id).returncode == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--preset", "mnist-tset"), "The nearest preset: mnist-test"),
        (("--dataset", "digit"), "The nearest data set that is ready: digits"),
        (("-o", "optimization.epochs=0"), "/overrides/optimization.epochs: "),
        (("-o", "optimization.epoch=1"), "The nearest override: optimization.epochs"),
    ],
)
def test_mistakes_are_named(nvae, dataset, words, told):
    refused = nvae(*TRAIN, *words)
    assert (refused.returncode, refused.stdout) == (4, "")
    assert told in refused.stderr
    planned = nvae("plan", *TRAIN[1:], *words)
    assert planned.returncode == 4
    assert told in planned.stderr


def test_catalogue_is_listed(nvae, dataset):
    for words in (("presets",), ("nodes", "list"), ("datasets", "list"), ("keys", "list")):
        listed = json.loads(nvae(*words, "--json").stdout)
        assert listed
        assert listed[0]["name"] in nvae(*words).stdout
    assert nvae("presets", "mnist-tset").returncode == 4
    assert "model.image_size" in nvae("presets", "mnist-test").stdout


def test_wrong_key_is_told(environment, nvae):
    environment["NVAE_API_KEY"] = "nvae_wrong"
    refused = nvae("jobs")
    assert refused.returncode == 4
    assert "NVAE_API_KEY" in refused.stderr
