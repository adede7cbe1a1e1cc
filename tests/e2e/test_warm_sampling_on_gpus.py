"""The resident sampler leaves a node's GPUs to whatever else is placed on them."""

import os

import pytest
from gpu_stand_in import gpu_uuid, write_driver
from stacks import running_stack
from waiting import wait_until


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A stack whose worker counts two GPUs; torch finds none, and computes on the CPU."""
    folder = tmp_path_factory.mktemp("driver")
    write_driver(folder, num_gpus=2)
    path = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    with running_stack(tmp_path_factory, os.environ | {"PYTHONPATH": path}) as stack:
        yield stack


def test_resident_of_a_gpu_ends_before_training_takes_it(stack, client):
    client.datasets.register("digits", {"kind": "bundled", "name": "mnist_5k"}).job.wait()
    [node] = client.nodes.list()
    assert node.slot_kind == "gpu"
    train = {"kind": "train", "preset": "mnist-test", "dataset": "digits"}
    checkpoint = client.jobs.submit(train).wait().checkpoints()[-1]
    sample = {"kind": "sample", "checkpoint": checkpoint.id}
    client.jobs.submit(sample).wait()
    stack.wait_for_resident("gpu", gpu_uuid(0))
    client.jobs.submit(sample).wait()
    [pid] = stack.residents()
    # One GPU draws for long, while training takes the other: the picture is let be.
    long = sample | {"batch_norm": "re-estimate", "re_estimation_draws": 10_000, "num_images": 1}
    drawing = client.jobs.submit(long)
    wait_until(lambda: drawing.refresh().progress.num_steps)
    client.jobs.submit(train | {"seed": 1}).wait()
    assert stack.residents() == [pid]
    assert drawing.refresh().status == "running"
    drawing.cancel()
    wait_until(lambda: drawing.refresh().status == "cancelled")
    both = client.jobs.submit(train | {"resources": {"slots": 2}, "seed": 2})
    wait_until(lambda: both.refresh().progress.step)
    assert stack.residents() == []
    both.wait()
    client.jobs.submit(sample).wait()
    stack.wait_for_resident("gpu", gpu_uuid(0))
    assert pid not in stack.residents()
