"""Training on a disk that is too small, as a program."""

from collections.abc import Callable
from pathlib import Path

from crashing_trainer import Task, run_tasks

from nvae_core.checkpoint import read_manifest
from nvae_core.config import CheckpointPolicy, TrainConfig
from nvae_core.run_directory import CheckpointLine, ExitReason, NoticeLine, RunDirectory
from nvae_core.training.checkpointer import SPARE_BYTES, saved_steps


def train_on(disk: Path, config: TrainConfig) -> RunDirectory:
    policy = CheckpointPolicy(every_steps=1, keep_last=1000)
    run = RunDirectory(disk / "run")
    run.create(config.model_copy(update={"checkpoint": policy}))
    run_tasks([Task(str(run.path))])
    return run


def test_disk_that_fills_up_costs_old_checkpoints_and_not_the_run(
    mount_disk: Callable[[int], Path], train_config: TrainConfig
) -> None:
    run = train_on(mount_disk(SPARE_BYTES + 2**20), train_config)
    result = run.read_result()
    assert result is not None
    assert (result.status, result.step) == ("succeeded", 8)
    lines = [line for _, line in run.read_progress()]
    assert [line.step for line in lines if isinstance(line, CheckpointLine)] == [*range(1, 9)]
    notices = [line for line in lines if isinstance(line, NoticeLine)]
    assert {line.name for line in notices} == {"disk_full"}
    kept = saved_steps(run.checkpoints)
    assert 1 <= len(kept) < 8
    assert read_manifest(run.checkpoints / "step_00000008").step == kept[-1] == 8


def test_run_without_room_for_its_last_checkpoint_says_so(
    mount_disk: Callable[[int], Path], train_config: TrainConfig
) -> None:
    run = train_on(mount_disk(2**20), train_config)
    result = run.read_result()
    assert result is not None
    assert result.reason == ExitReason.DISK_FULL
    assert "the disk is full: there was no room for the checkpoint of step 8" in str(result.message)
