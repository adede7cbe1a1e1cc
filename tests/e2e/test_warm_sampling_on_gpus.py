"""The resident sampler leaves a node's GPUs to whatever else is placed on them."""

import os

import pytest
from stacks import running_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A stack whose worker counts two GPUs; torch finds none, and computes on the CPU."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: stand-in'\necho 'GPU 1: stand-in'\n")
    program.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    with running_stack(tmp_path_factory, os.environ | {"PATH": path}) as stack:
        yield stack


def test_resident_ends_before_training_takes_its_gpu(stack, client, wait_until):
    client.datasets.register("digits", {"kind": "bundled", "name": "mnist_5k"}).job.wait()
    [node] = client.nodes.list()
    assert node.slot_kind == "gpu"
    train = {"kind": "train", "preset": "mnist-test", "dataset": "digits"}
    checkpoint = client.jobs.submit(train).wait().checkpoints()[-1]

    def sample():
        return client.jobs.submit({"kind": "sample", "checkpoint": checkpoint.id}).wait()

    sample()
    stack.wait_for_resident()
    sample()
    [pid] = stack.residents()
    both = client.jobs.submit(train | {"resources": {"slots": 2}, "seed": 1})
    wait_until(lambda: both.refresh().progress.step)
    assert stack.residents() == []
    both.wait()
    sample()
    stack.wait_for_resident()
    assert pid not in stack.residents()
