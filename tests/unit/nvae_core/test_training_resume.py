"""A run that is killed with -9 and resumed is the run: weights, statistics, optimizer, metrics."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from crashing_trainer import Task, run_tasks

from nvae_core.config import ComputeConfig, RankPolicy, SamplePolicy, TrainConfig, ValidationPolicy
from nvae_core.run_directory import ExitReason, MetricsLine, NoticeLine, RunDirectory

WALL_CLOCK = {"images_per_second", "data_wait_share", "peak_memory_bytes"}


@pytest.fixture
def config(train_config: TrainConfig) -> TrainConfig:
    """Sixteen steps; reports and checkpoints do not fall together."""
    return train_config.model_copy(
        update={
            "optimization": train_config.optimization.model_copy(update={"epochs": 4}),
            "samples": SamplePolicy(temperatures=()),
            "validation": ValidationPolicy(every_steps=6, num_images=7),
            "report_every_steps": 5,
        }
    )


def create(path: Path, config: TrainConfig, *, resume_from: Path | None = None) -> RunDirectory:
    run = RunDirectory(path)
    folder = None if resume_from is None else str(resume_from)
    run.create(config.model_copy(update={"resume_from": folder}))
    return run


def metrics(run: RunDirectory) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for _, line in run.read_progress():
        if isinstance(line, MetricsLine):
            found.setdefault(line.step, {}).update(
                (name, value)
                for name, value in line.values.items()
                if name not in WALL_CLOCK and not name.startswith("step_seconds")
            )
    return found


def newest_checkpoint(run: RunDirectory) -> Path | None:
    return max(run.checkpoints.glob("step_*"), default=None)


def files_of_last_checkpoint(run: RunDirectory) -> dict[str, bytes]:
    path = newest_checkpoint(run)
    assert path is not None
    return {file.name: file.read_bytes() for file in path.iterdir()}


def assert_equal(resumed: RunDirectory, killed: RunDirectory, whole: RunDirectory) -> None:
    expected, result = whole.read_result(), resumed.read_result()
    assert expected is not None
    assert result is not None, (resumed.path / "output_0.txt").read_text()
    assert (result.status, result.step) == ("succeeded", expected.step), result
    assert result.values["train_negative_elbo"] == expected.values["train_negative_elbo"]
    assert files_of_last_checkpoint(resumed) == files_of_last_checkpoint(whole)
    before, after, all_metrics = metrics(killed), metrics(resumed), metrics(whole)
    for part in (before, after):
        assert part == {step: all_metrics[step] for step in part}
    assert before.keys() | after.keys() == all_metrics.keys()


ALONE = Task("")
TOGETHER = Task("", world_size=2)
THREE = Task("", world_size=3)  # with more than two the order of a sum matters
EVERYTHING = ComputeConfig(
    precision="fp16",
    gradient_accumulation=2,
    activation_checkpointing=True,
    batch_norm_statistics="local",
)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("compute", "crashes"),
    [
        (
            ComputeConfig(),
            [
                replace(ALONE, crash_step=2),  # before any checkpoint
                replace(ALONE, crash_step=8),
                replace(ALONE, crash_step=15),
                replace(ALONE, crash_save=2),
                replace(ALONE, crash_save=4, crash_file="training.safetensors"),
            ],
        ),
        (
            ComputeConfig(),
            [replace(TOGETHER, crash_step=5, crash_rank=1), replace(TOGETHER, crash_save=2)],
        ),
        (EVERYTHING, [replace(THREE, crash_step=5, crash_rank=2)]),
    ],
    ids=["one rank", "two ranks", "three ranks, every setting"],
)
def test_killed_run_goes_on_bit_for_bit(
    tmp_path: Path, config: TrainConfig, compute: ComputeConfig, crashes: list[Task]
) -> None:
    optimization = config.optimization
    if crashes[0].world_size == 3:
        optimization = optimization.model_copy(update={"batch_size": 4})
    config = config.model_copy(update={"compute": compute, "optimization": optimization})
    template = Task("", world_size=crashes[0].world_size)
    whole = create(tmp_path / "whole", config)
    killed = [create(tmp_path / f"killed_{index}", config) for index in range(len(crashes))]
    run_tasks(
        [replace(template, run=str(whole.path))]
        + [replace(crash, run=str(run.path)) for crash, run in zip(crashes, killed, strict=True)]
    )
    checkpoints = [newest_checkpoint(run) for run in killed]
    for crash, checkpoint in zip(crashes, checkpoints, strict=True):
        if crash.crash_save is not None:
            assert checkpoint is not None
            assert checkpoint.name == f"step_{3 * (crash.crash_save - 1):08d}"
    resumed = [
        create(run.path.with_name(f"resumed_{run.path.name}"), config, resume_from=checkpoint)
        for run, checkpoint in zip(killed, checkpoints, strict=True)
    ]
    run_tasks([replace(template, run=str(run.path)) for run in resumed])
    for run, rest in zip(killed, resumed, strict=True):
        assert_equal(rest, run, whole)


@pytest.mark.processes
def test_other_number_of_ranks_goes_on_with_the_same_global_batch(
    tmp_path: Path, config: TrainConfig
) -> None:
    alone = create(tmp_path / "alone", config)
    run_tasks([Task(str(alone.path))])
    checkpoint = alone.checkpoints / "step_00000012"
    half = config.optimization.model_copy(update={"batch_size": 4})
    compute = ComputeConfig(precision="bf16", activation_checkpointing=True)
    halved = config.model_copy(update={"optimization": half, "compute": compute})
    together = create(tmp_path / "together", halved, resume_from=checkpoint)
    doubled = create(tmp_path / "doubled", config, resume_from=checkpoint)
    run_tasks([Task(str(together.path), world_size=2), Task(str(doubled.path), world_size=2)])
    result = together.read_result()
    assert result is not None
    assert (result.status, result.step) == ("succeeded", 16)
    (notice,) = [line for _, line in together.read_progress() if isinstance(line, NoticeLine)]
    assert notice.name == "resumed_with_changes"
    assert "world_size is 2, in the checkpoint 1" in notice.message
    assert "compute.precision is bf16, in the checkpoint float32" in notice.message
    assert "activation_checkpointing" not in notice.message  # changes no bit
    refused = doubled.read_result()
    assert refused is not None
    assert refused.reason == ExitReason.INVALID_CONFIG
    assert refused.message is not None
    assert "16 in each step" in refused.message
    assert "batch_size 4 gives that" in refused.message


def test_checkpoint_that_cannot_be_resumed_from_is_a_reason(
    tmp_path: Path, config: TrainConfig, dataset: Path
) -> None:
    first = create(tmp_path / "first", config)
    run_tasks([Task(str(first.path))])
    checkpoint = first.checkpoints / "step_00000016"
    truncated = shutil.copytree(checkpoint, tmp_path / "truncated")
    os.truncate(truncated / "model.safetensors", 1000)
    tampered = shutil.copytree(checkpoint, tmp_path / "tampered")
    content = bytearray((tampered / "training.safetensors").read_bytes())
    content[-1] ^= 1
    (tampered / "training.safetensors").write_bytes(content)
    shorter = config.optimization.model_copy(update={"epochs": 2})
    wider = config.model.model_copy(update={"num_latents_per_group": 5})
    larger = config.model.model_copy(update={"image_size": 16, "image_padding": 0})
    corrupt, invalid = ExitReason.CHECKPOINT_CORRUPT, ExitReason.INVALID_CONFIG
    cases = [
        ({}, truncated, corrupt, "model.safetensors: does not match the hash"),
        ({}, tampered, corrupt, "training.safetensors: does not match the hash"),
        ({}, tmp_path / "nowhere", corrupt, "checkpoint.json: No such file"),
        ({"model": wider}, checkpoint, corrupt, "model.num_latents_per_group is 5"),
        ({"optimization": shorter}, checkpoint, invalid, "optimization.epochs"),
        ({"model": larger}, checkpoint, ExitReason.INVALID_DATASET, "model.image_size is 16"),
    ]
    runs = [
        create(tmp_path / f"run_{index}", config.model_copy(update=update), resume_from=folder)
        for index, (update, folder, _, _) in enumerate(cases)
    ]
    run_tasks([Task(str(run.path)) for run in runs])
    for run, (_, _, reason, message) in zip(runs, cases, strict=True):
        result = run.read_result()
        assert result is not None
        assert (result.status, result.reason) == ("failed", reason), result
        assert message in str(result.message)


@pytest.mark.processes
def test_missing_rank_and_hanging_rank_are_reasons(tmp_path: Path, config: TrainConfig) -> None:
    hurried = config.model_copy(
        update={"ranks": RankPolicy(join_timeout_seconds=2, stall_timeout_seconds=8)}
    )
    missing = create(tmp_path / "missing", hurried)
    hanging = create(tmp_path / "hanging", hurried)
    run_tasks(
        [
            Task(str(missing.path), world_size=2, missing_rank=1),
            Task(str(hanging.path), world_size=2, crash_rank=1, hang_step=2),
        ]
    )
    result = missing.read_result()
    assert result is not None
    assert result.reason == ExitReason.RENDEZVOUS_TIMEOUT
    assert "not all ranks joined within 2 seconds" in str(result.message)
    result = hanging.read_result()
    assert result is not None
    assert result.reason == ExitReason.STALLED
    assert "rank 1: step of step 2 for" in str(result.message)
    assert "in _hang" in hanging.stacks_path(1).read_text()
