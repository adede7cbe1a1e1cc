"""Pictures at once: from the node's resident sampler, cold and warm, and when it is killed."""

import os
import signal
import subprocess
import sys

import httpx
import pytest

from nvae_core.run_directory import RunDirectory
from services.domain.jobs import SampleSpec, run_config

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
    job_id = warm[0].headers["Location"].rpartition("/")[2]
    job = client.jobs.get(job_id)
    folder = checkpoint.download(tmp_path / "checkpoint")
    run = RunDirectory(tmp_path / "run")
    spec = SampleSpec.model_validate(job.spec)
    run.create(run_config(spec, resolved=None, dataset=None, checkpoint=str(folder)))
    subprocess.run([sys.executable, "-m", "nvae_core.cli.sample", str(run.path)], check=True)
    assert (run.samples / "grid.png").read_bytes() == cold.content


def test_statistics_are_estimated_once_for_a_temperature(stack, client, ask):
    asked = {"batch_norm": "re-estimate", "temperature": 0.6, "re_estimation_draws": 5}
    first, second = ask(**asked), ask(**asked)
    assert first.content == second.content != ask(temperature=0.6).content
    jobs = [answer.headers["Location"].rpartition("/")[2] for answer in (first, second)]
    names = [{artifact.name for artifact in client.jobs.get(job).artifacts()} for job in jobs]
    assert names == [
        {"grid.png", "samples.json", "batch_norm_temperature_0.6_draws_5.safetensors"},
        {"grid.png", "samples.json"},
    ]


def test_resident_that_is_killed_costs_nobody_a_picture(stack, client, ask):
    expected = ask(temperature=0.8).content
    stack.wait_for_resident()
    for pid in stack.residents():
        os.kill(pid, signal.SIGKILL)
    assert ask(temperature=0.8).content == expected
    stack.wait_for_resident()
    assert ask(temperature=0.8).content == expected


def test_resident_that_hangs_holds_up_one_job_which_can_be_cancelled(
    stack, client, ask, checkpoint, wait_until
):
    stack.wait_for_resident()
    [pid] = stack.residents()
    os.kill(pid, signal.SIGSTOP)
    job = client.jobs.submit({"kind": "sample", "checkpoint": checkpoint.id})
    wait_until(lambda: job.refresh().status == "running")
    job.cancel(force=True)
    wait_until(lambda: job.refresh().status == "cancelled", 30)
    assert pid not in stack.residents()
    assert ask().status_code == 201
