import errno
import threading
from pathlib import Path

import pytest
import torch

from nvae_core.config import CheckpointPolicy, ModelConfig, OptimizationConfig
from nvae_core.run_directory import CheckpointLine, NoticeLine, RunDirectory
from nvae_core.training.checkpointer import (
    CheckpointSaver,
    Snapshot,
    expendable_steps,
    outdated_steps,
    saved_steps,
    take_snapshot,
)
from nvae_core.training.state import start_training

OPTIMIZATION = OptimizationConfig(epochs=1, batch_size=4, warmup_epochs=0)


def snapshot_at(step: int, config: ModelConfig) -> Snapshot:
    state = start_training(config, OPTIMIZATION, seed=0, device=torch.device("cpu"))
    state.step = step
    return take_snapshot(state, optimization=OPTIMIZATION, seed=0)


class Disk:
    """Holds so many checkpoints; a write that does not fit fails as the kernel says it."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity

    def write(self, path: Path, _snapshot: Snapshot) -> None:
        if len(saved_steps(path.parent)) >= self.capacity:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.mkdir(parents=True)


def save_all(
    run: RunDirectory, saver: CheckpointSaver, steps: list[int], config: ModelConfig
) -> list[NoticeLine]:
    for step in steps:
        saver.save(snapshot_at(step, config))
    saver.wait()
    return [line for _, line in run.read_progress() if isinstance(line, NoticeLine)]


def test_last_ones_and_milestones_are_kept(run: RunDirectory, model_config: ModelConfig) -> None:
    policy = CheckpointPolicy(keep_last=2, keep_every_steps=4)
    saver = CheckpointSaver(run, policy)
    assert save_all(run, saver, [2, 4, 6, 8, 10, 12, 14], model_config) == []
    assert saved_steps(run.checkpoints) == [4, 8, 12, 14]
    reported = [line.step for _, line in run.read_progress() if isinstance(line, CheckpointLine)]
    assert reported == [2, 4, 6, 8, 10, 12, 14]


def test_outdated_and_expendable_steps_spare_milestones_and_the_newest() -> None:
    policy = CheckpointPolicy(keep_last=1, keep_every_steps=10)
    assert outdated_steps([5, 10, 15, 20, 25], policy) == [5, 15]
    assert expendable_steps([5, 10, 15, 20, 25], policy) == [5, 15, 10, 20]
    assert expendable_steps([], policy) == []


def test_full_disk_costs_older_checkpoints(run: RunDirectory, model_config: ModelConfig) -> None:
    saver = CheckpointSaver(run, CheckpointPolicy(keep_last=9), write=Disk(2).write)
    (notice,) = save_all(run, saver, [1, 2, 3], model_config)
    assert saved_steps(run.checkpoints) == [2, 3]
    assert (notice.name, notice.step) == ("disk_full", 3)
    assert "the local checkpoints of steps 1 were dropped" in notice.message
    saver.require(3)


def test_disk_without_any_room_does_not_end_the_run(
    run: RunDirectory, model_config: ModelConfig
) -> None:
    disk = Disk(1)
    saver = CheckpointSaver(run, CheckpointPolicy(keep_last=9), write=disk.write)
    (notice,) = save_all(run, saver, [1, 2], model_config)
    assert saved_steps(run.checkpoints) == [1]  # the newest there is stays
    assert "it was not saved; training goes on" in notice.message
    with pytest.raises(OSError, match="no room for the checkpoint of step 2"):
        saver.require(2)
    disk.capacity = 2
    save_all(run, saver, [3], model_config)
    assert saved_steps(run.checkpoints) == [1, 3]


def test_free_space_is_looked_at_before_writing(
    run: RunDirectory, model_config: ModelConfig
) -> None:
    saver = CheckpointSaver(run, CheckpointPolicy(), spare_bytes=2**62)
    (notice,) = save_all(run, saver, [1], model_config)
    assert notice.name == "disk_full"
    assert list(run.checkpoints.iterdir()) == []


def test_other_error_is_raised_by_the_next_save(
    run: RunDirectory, model_config: ModelConfig
) -> None:
    def fail(_path: Path, _snapshot: Snapshot) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    saver = CheckpointSaver(run, CheckpointPolicy(), write=fail)
    saver.save(snapshot_at(1, model_config))
    with pytest.raises(PermissionError):
        saver.save(snapshot_at(2, model_config))


def test_other_error_is_raised_at_the_next_step_after_it(
    run: RunDirectory, model_config: ModelConfig
) -> None:
    def fail(_path: Path, _snapshot: Snapshot) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    saver = CheckpointSaver(run, CheckpointPolicy(), write=fail)
    saver.check()
    saver.save(snapshot_at(1, model_config))
    saver.close()  # the thread has ended
    with pytest.raises(PermissionError):
        saver.check()


def test_training_goes_on_during_a_save_and_the_next_save_waits(
    run: RunDirectory, model_config: ModelConfig
) -> None:
    release = threading.Event()
    written: list[int] = []

    def write_slowly(path: Path, snapshot: Snapshot) -> None:
        assert release.wait(timeout=30)
        path.mkdir(parents=True)
        written.append(snapshot.manifest.step)

    saver = CheckpointSaver(run, CheckpointPolicy(), write=write_slowly)
    saver.save(snapshot_at(1, model_config))  # returns
    assert written == []
    second = threading.Thread(target=saver.save, args=(snapshot_at(2, model_config),))
    second.start()
    second.join(timeout=0.1)
    assert second.is_alive()
    release.set()
    second.join(timeout=30)
    saver.require(2)
    assert written == [1, 2]


def test_snapshot_does_not_follow_the_training(model_config: ModelConfig) -> None:
    state = start_training(model_config, OPTIMIZATION, seed=0, device=torch.device("cpu"))
    snapshot = take_snapshot(state, optimization=OPTIMIZATION, seed=0)
    before = {name: value.clone() for name, value in snapshot.model.items()}
    with torch.no_grad():
        for parameter in state.model.parameters():
            parameter.add_(1)
    torch.testing.assert_close(snapshot.model, before, rtol=0, atol=0)
    tensors = [*before.values(), *snapshot.training.values()]
    assert snapshot.num_bytes == sum(tensor.nbytes for tensor in tensors)
