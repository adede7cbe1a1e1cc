"""Runs that a real resident sampler carries out, alone and behind others, and what ends it."""

import asyncio
import itertools
import json
import os
import signal
import sys
import time

import psutil
import pytest
from gpu_stand_in import gpu_uuid, write_driver
from waiting import wait_until

from nvae_core.config import OptimizationConfig
from nvae_core.presets import find_preset
from nvae_core.run_directory import RunDirectory
from services.domain.states import Reason
from services.settings import WorkerSettings
from services.worker.sampler import client
from services.worker.sampler.client import (
    connect,
    lock_start,
    release_gpus,
    sampler_folder,
    start_sampling,
)
from services.worker.sampler.process import SamplerProcesses
from services.worker.trainer.process import TERM_SECONDS, TrainerPlan

GPU = gpu_uuid(0)
LONG = {"batch_norm": "re-estimate", "re_estimation_draws": 10_000, "num_images": 1}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    import torch  # only here: to load it takes seconds, and collection does without it

    from nvae_core.training.checkpointer import save_checkpoint
    from nvae_core.training.state import start_training

    optimization = OptimizationConfig(epochs=1, batch_size=4, warmup_epochs=0)
    model = find_preset("mnist-test").model
    state = start_training(model, optimization, seed=0, device=torch.device("cpu"))
    folder = tmp_path_factory.mktemp("checkpoint")
    return save_checkpoint(folder, state, optimization=optimization, seed=0)


class Node:
    """A node's folder, its residents, and plans of sample runs on it."""

    def __init__(self, folder, checkpoint, slot_kind):
        self.data_folder = folder / "node"
        self._folder = folder
        self._checkpoint = checkpoint
        self.slot_kind = slot_kind
        self.residents = None
        self.asked = []
        self._numbers = itertools.count()

    def start(self, **settings):
        """Start the resident as a worker does when a runner has missed it; wait for it."""
        process = self.begin_start(**settings)
        wait_until(lambda: connect(self.resident_folder())).close()
        return process

    def begin_start(self, **settings):
        given = {"sampler_idle_seconds": 60.0, **settings}
        node = WorkerSettings(node_name="n", data_folder=self.data_folder, slots=1, **given)
        self.residents = SamplerProcesses(node)
        assert start_sampling(self.plan(), self.data_folder) is None
        self.residents.start_wanted()
        [process] = self.residents._processes.values()
        return process

    def resident_folder(self):
        return sampler_folder(self.data_folder, self.slot_kind, GPU)

    def plan(self, **fields):
        number = next(self._numbers)
        run = RunDirectory(self._folder / f"run_{number}")
        run.logs.mkdir(parents=True)
        config = {"kind": "sample", "checkpoint": str(self._checkpoint), "num_images": 2} | fields
        run.config_path.write_text(json.dumps(config))
        return TrainerPlan(
            kind="sample", run_directory=run, marker=f"NVAE_ATTEMPT={number}", slots=(GPU,),
            slot_kind=self.slot_kind, threads_per_slot=1,
        )  # fmt: skip

    def ask(self, **fields):
        plan = self.plan(**fields)
        return plan.run_directory, self.hand_over(plan)

    def hand_over(self, plan):
        running = start_sampling(plan, self.data_folder)
        self.asked += [running] if running else []
        return running


@pytest.fixture(params=["cpu"])
async def node(request, tmp_path, checkpoint, monkeypatch):
    if request.param == "gpu":
        write_driver(tmp_path, num_gpus=1)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    node = Node(tmp_path, checkpoint, request.param)
    yield node
    for running in node.asked:
        await running.kill()
    for process in node.residents._processes.values() if node.residents else []:
        process.stdin.close()  # as by the end of the worker
        process.send_signal(signal.SIGCONT)
        process.wait(20)


on_gpu = pytest.mark.parametrize("node", ["gpu"], indirect=True)


def stop(pid):
    """Stop a child, all of its threads."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


async def ended(running, seconds=60):
    async with asyncio.timeout(seconds):
        while running.is_running():
            await running.pause(0.2)
    return running.exit_code()


async def begun(warm, seconds=30):
    async with asyncio.timeout(seconds):
        while not warm._warm.has_begun:
            warm.is_running()
            await asyncio.sleep(0.02)


async def test_runs_are_carried_out_one_after_the_other(node):
    node.start()
    asked = [node.ask(seed=seed) for seed in (1, 1, 2)]
    grids = []
    for run, warm in asked:
        assert await ended(warm) == 0
        assert run.read_result().status == "succeeded"
        grids.append((run.samples / "grid.png").read_bytes())
    assert grids[0] == grids[1] != grids[2]


async def test_run_that_is_given_up_in_the_queue_costs_nobody_anything(node):
    process = node.start()
    _, first = node.ask(**LONG)
    await begun(first)
    run, second = node.ask()
    began_at = time.monotonic()
    await second.kill()
    assert time.monotonic() < began_at + TERM_SECONDS / 2
    assert first.is_running()
    assert not second.is_running()
    first.terminate()
    assert await ended(first) == 0
    assert process.poll() is None
    _, third = node.ask()
    assert await ended(third) == 0
    assert not run.progress_path.exists()


async def test_stop_of_a_run_in_the_queue_does_not_wait_for_its_turn(node):
    node.start()
    _, first = node.ask(**LONG)
    await begun(first)
    run, second = node.ask()
    assert second.is_running()
    run.request_stop()
    assert not second.is_running()
    await second.kill()
    await first.kill()


async def test_death_of_the_resident_costs_the_run_that_it_was_at(node):
    process = node.start()
    run, first = node.ask(**LONG)
    await begun(first)
    other_run, second = node.ask()
    assert second.is_running()
    process.kill()
    assert await ended(first) == -signal.SIGKILL
    assert (first.reason_without_result, run.read_result()) == (Reason.WORKER_LOST, None)
    assert await ended(second) == 0
    assert second.reason_without_result == Reason.TRAINER_CRASHED  # a process of its own
    assert other_run.read_result().status == "succeeded"


async def test_resident_that_hangs_is_ended_and_its_run_carried_out(node, monkeypatch):
    monkeypatch.setattr(client, "HEARD_SECONDS", 1.0)
    process = node.start()
    stop(process.pid)
    run, warm = node.ask()
    assert await ended(warm) == 0
    assert run.read_result().status == "succeeded"
    assert process.wait(10) == -signal.SIGKILL


async def test_run_that_breaks_the_resident_is_left_to_another_attempt(node):
    process = node.start()
    plan = node.plan()
    plan.run_directory.samples.write_bytes(b"in the way")
    broken = node.hand_over(plan)
    assert await ended(broken) == -signal.SIGKILL
    assert broken.last_log_lines() == "the resident sampler ended while it drew"
    assert plan.run_directory.read_result() is None
    assert process.wait(10) == 1


async def test_run_that_cannot_be_is_answered_and_the_resident_stays(node):
    process = node.start()
    run, refused = node.ask(fixed_scales=9)
    assert await ended(refused) == 0
    assert run.read_result().reason == "invalid_config"
    assert process.poll() is None


async def test_resident_that_nobody_asks_ends(node):
    process = node.start(sampler_idle_seconds=0.5)
    assert process.wait(20) == 0
    _, warm = node.ask()
    assert warm is None


@on_gpu
async def test_gpu_is_released_when_what_was_asked_for_is_done(node):
    process = node.start()
    assert process.args[-3].endswith(f"sampler/gpu_{GPU}/socket")
    _, warm = node.ask()
    releasing = asyncio.create_task(
        asyncio.to_thread(release_gpus, node.data_folder, (GPU, "GPU-other"))
    )
    assert await ended(warm) == 0
    async with asyncio.timeout(10):
        await releasing
    assert process.wait(10) == 0


@on_gpu
def test_resident_that_still_starts_leaves_its_gpu_at_once(node):
    process = node.begin_start()
    environment = psutil.Process(process.pid).environ()
    assert (environment["NVAE_DEVICE"], environment["CUDA_VISIBLE_DEVICES"]) == ("cuda", GPU)
    release_gpus(node.data_folder, (GPU,))
    assert process.wait(10) == -signal.SIGKILL


@on_gpu
def test_resident_that_is_wanted_is_not_started_once_its_gpu_is_taken(node):
    assert start_sampling(node.plan(), node.data_folder) is None
    release_gpus(node.data_folder, (GPU,))
    node.residents = SamplerProcesses(
        WorkerSettings(node_name="n", data_folder=node.data_folder, slots=1)
    )
    node.residents.start_wanted()
    assert not node.residents._processes


@on_gpu
def test_worker_does_not_wait_for_a_training_that_takes_a_gpu(node):
    assert start_sampling(node.plan(), node.data_folder) is None
    node.residents = SamplerProcesses(
        WorkerSettings(node_name="n", data_folder=node.data_folder, slots=1)
    )
    with lock_start(node.resident_folder(), wait=True):
        node.residents.start_wanted()
    assert not node.residents._processes
    node.residents.start_wanted()
    assert node.residents._processes


def test_worker_that_cannot_start_a_resident_goes_on(node, monkeypatch):
    assert start_sampling(node.plan(), node.data_folder) is None
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    SamplerProcesses(WorkerSettings(node_name="n", data_folder=node.data_folder)).start_wanted()
    assert [*node.resident_folder().glob("wanted")] == []
