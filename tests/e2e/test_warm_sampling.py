"""Pictures at once: from the node's resident sampler, cold and warm, and when it is killed."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from waiting import wait_until

from nvae_core.run_directory import RunDirectory
from services.domain.specs import SampleSpec, run_config

TRAIN = {"kind": "train", "preset": "mnist-test", "dataset": "digits"}
PICTURE = {"Prefer": "wait=60", "Accept": "image/png"}


@pytest.fixture(scope="module")
def checkpoint(client):
    client.datasets.register("digits", {"kind": "bundled", "name": "mnist_5k"}).job.wait()
    return client.jobs.submit(TRAIN).wait().checkpoints()[-1]


@pytest.fixture
def ask(stack, checkpoint):
    """Return a function that asks for a picture and returns the answer."""

    def post(**fields):
        spec = {"kind": "sample", "checkpoint": checkpoint.id, "seed": 5} | fields
        headers = PICTURE | {"Authorization": f"Bearer {stack.api_key}"}
        return httpx.post(f"{stack.url}/v1/jobs", json=spec, headers=headers, timeout=90)

    return post


def test_picture_is_the_same_cold_warm_and_from_the_shell(stack, client, checkpoint, ask, tmp_path):
    cold = ask(temperature=0.8)
    assert (cold.status_code, cold.headers["Content-Type"]) == (201, "image/png")
    stack.wait_for_resident()
    warm = [ask(temperature=0.8) for _ in range(2)]
    assert {answer.content for answer in warm} == {cold.content}
    [pid] = stack.residents()
    of_all = {"kind": "sample", "checkpoint": checkpoint.id, "temperature": [0.6, 1.0]}
    of_all |= {"output": ["grid", "images", "array"], "image": "draw", "num_images": 5}
    of_all |= {"batch_norm": "re-estimate", "re_estimation_draws": 3}
    job = client.jobs.submit(of_all).wait()
    assert stack.residents() == [pid]
    folder = checkpoint.download(tmp_path / checkpoint.id)
    run = RunDirectory(tmp_path / "run")
    spec = SampleSpec.model_validate(job.spec)
    run.create(run_config(spec, resolved=None, dataset=None, checkpoint=str(folder)))
    subprocess.run([sys.executable, "-m", "nvae_core.cli.sample", str(run.path)], check=True)
    files = [path for path in run.samples.rglob("*") if path.is_file()]
    found = {str(path.relative_to(run.samples)): path for path in files}
    artifacts = {artifact.name: artifact for artifact in job.artifacts()}
    assert found.keys() == artifacts.keys()
    for name, path in found.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == artifacts[name].sha256, name


def test_statistics_are_estimated_once_for_a_temperature(stack, client, checkpoint, ask, tmp_path):
    asked = {"batch_norm": "re-estimate", "temperature": 0.6, "re_estimation_draws": 5}
    first, second = ask(**asked), ask(**asked)
    assert first.content == second.content != ask(temperature=0.6).content
    jobs = [answer.headers["Location"].rpartition("/")[2] for answer in (first, second)]
    names = [{artifact.name for artifact in client.jobs.get(job).artifacts()} for job in jobs]
    assert names == [
        {"grid.png", "samples.json", "batch_norm_temperature_0.6_draws_5.safetensors"},
        {"grid.png", "samples.json"},
    ]
    for pid in stack.residents():  # what it holds in memory is gone
        os.kill(pid, signal.SIGKILL)
    third = client.jobs.submit({"kind": "sample", "checkpoint": checkpoint.id, "seed": 5} | asked)
    assert {artifact.name for artifact in third.wait().artifacts()} == names[1]
    [grid] = third.pictures()
    assert grid.download(tmp_path / "grid.png").read_bytes() == first.content


def test_resident_that_is_killed_costs_nobody_a_picture(stack, client, ask):
    expected = ask(temperature=0.8).content
    stack.wait_for_resident()
    for pid in stack.residents():
        os.kill(pid, signal.SIGKILL)
    assert ask(temperature=0.8).content == expected
    stack.wait_for_resident()
    assert ask(temperature=0.8).content == expected


def test_resident_that_hangs_costs_nobody_a_picture(stack, client, ask):
    expected = ask(temperature=0.8).content
    stack.wait_for_resident()
    [pid] = stack.residents()
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: "State:\tT" in Path(f"/proc/{pid}/status").read_text())
    answer = ask(temperature=0.8)
    assert answer.content == expected
    job = client.jobs.get(answer.headers["Location"].rpartition("/")[2])
    assert len(job.attempts()) == 1
    assert pid not in stack.residents()


def test_job_that_waits_for_the_resident_is_cancelled_alone(stack, client, checkpoint):
    sample = {"kind": "sample", "checkpoint": checkpoint.id}
    client.jobs.submit(sample).wait()
    stack.wait_for_resident()
    [pid] = stack.residents()
    long = sample | {"batch_norm": "re-estimate", "re_estimation_draws": 10_000, "num_images": 1}
    first = client.jobs.submit(long)
    wait_until(lambda: first.refresh().progress.num_steps)
    second = client.jobs.submit(sample)
    wait_until(lambda: second.refresh().status == "running")
    second.cancel(force=True)
    wait_until(lambda: second.refresh().status == "cancelled")
    assert stack.residents() == [pid]
    assert first.refresh().status == "running"
    first.cancel()
    wait_until(lambda: first.refresh().status == "cancelled")
    assert len(first.attempts()) == 1
    assert stack.residents() == [pid]
