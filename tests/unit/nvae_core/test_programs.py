"""The programs as processes: on one rank, and on two under torchrun."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import forked_programs
import pytest
import torch
from forked_programs import Program
from PIL import Image

from nvae_core.config import (
    RUN_CONFIG,
    AnyRunConfig,
    BundledSource,
    EvaluateConfig,
    FolderSource,
    PrepareDatasetConfig,
    SampleConfig,
    TrainConfig,
)
from nvae_core.data.dataset import read_manifest
from nvae_core.run_directory import (
    ExitReason,
    MetricsLine,
    Result,
    RunDirectory,
    StartedLine,
)
from nvae_core.training.checkpointer import save_checkpoint
from nvae_core.training.state import start_training

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
DEADLINE_SECONDS = 300  # also on a busy machine
AnyProgram = Program | subprocess.Popen[bytes]


def start(program: str, run: RunDirectory, environment: Mapping[str, str] = {}) -> Program:
    module = f"nvae_core.cli.{program}"
    with (run.path / "output.txt").open("wb") as output:
        return forked_programs.start(module, run.path, stdout=output, environment=environment)


def launch(
    program: str, run: RunDirectory, *, num_ranks: int | None = None, num_threads: int = 1
) -> subprocess.Popen[bytes]:
    """Start a program in a new interpreter, or in several under torchrun."""
    launcher = [sys.executable] if num_ranks is None else [*TORCHRUN, str(num_ranks)]
    with (run.path / "output.txt").open("wb") as output:
        return subprocess.Popen(
            [*launcher, "-m", f"nvae_core.cli.{program}", str(run.path)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": str(num_threads)},
        )


def finish(process: AnyProgram, run: RunDirectory) -> Result:
    process.wait(timeout=DEADLINE_SECONDS)
    result = run.read_result()
    assert result is not None, (run.path / "output.txt").read_text()
    return result


def wait_until(condition: Callable[[], bool], process: AnyProgram) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)


def has_metrics(run: RunDirectory) -> bool:
    return any(isinstance(line, MetricsLine) for _, line in run.read_progress())


@pytest.fixture
def endless(tmp_path: Path, train_config: TrainConfig) -> RunDirectory:
    optimization = train_config.optimization.model_copy(update={"epochs": 10**6})
    directory = RunDirectory(tmp_path / "endless")
    directory.create(
        train_config.model_copy(update={"optimization": optimization, "report_every_steps": 1})
    )
    return directory


@pytest.fixture
def checkpoint(tmp_path: Path, train_config: TrainConfig) -> Path:
    state = start_training(
        train_config.model, train_config.optimization, seed=0, device=torch.device("cpu")
    )
    path: Path = save_checkpoint(
        tmp_path / "checkpoints", state, optimization=train_config.optimization, seed=0
    )
    return path


@pytest.mark.processes
def test_sigterm_stops_both_ranks_with_a_checkpoint(endless: RunDirectory) -> None:
    process = launch("train", endless, num_ranks=2)
    wait_until(lambda: has_metrics(endless), process)
    process.send_signal(signal.SIGTERM)
    result = finish(process, endless)
    assert (result.status, result.reason) == ("stopped", ExitReason.STOPPED)
    assert (endless.checkpoints / f"step_{result.step:08d}" / "checkpoint.json").exists()


@pytest.mark.processes
def test_ranks_die_with_torchrun(endless: RunDirectory) -> None:
    process = launch("train", endless, num_ranks=1)
    wait_until(lambda: has_metrics(endless), process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    process.kill()
    process.wait()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while any(is_running(int(child)) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.processes
def test_ranks_say_where_they_are_and_show_their_stacks(endless: RunDirectory) -> None:
    process = launch("train", endless, num_ranks=2)
    wait_until(lambda: has_metrics(endless), process)
    ranks = endless.read_ranks()
    assert list(ranks) == [0, 1]
    assert all(state.step >= 1 and state.step_seconds > 0 for state in ranks.values())
    for state in ranks.values():
        os.kill(state.process_id, signal.SIGUSR1)
    stacks = [endless.stacks_path(rank) for rank in ranks]
    wait_until(lambda: all("in train" in path.read_text() for path in stacks), process)
    step = ranks[1].step
    wait_until(lambda: endless.read_ranks()[1].step > step, process)  # they go on
    endless.request_stop()
    assert finish(process, endless).status == "stopped"


def test_rank_leaves_when_its_lease_is_lost(endless: RunDirectory) -> None:
    endless.extend_deadman(time.monotonic() + 3600)
    process = start("train", endless)
    wait_until(lambda: has_metrics(endless), process)
    endless.extend_deadman(time.monotonic() - 1)
    assert finish(process, endless).reason == ExitReason.LEASE_LOST
    assert process.returncode == 1


def test_invalid_configuration_is_named_in_the_result(run: RunDirectory) -> None:
    config = json.loads(run.config_path.read_text())
    config["optimization"]["epochs"] = 0
    run.config_path.write_text(json.dumps(config))
    process = start("train", run)
    result = finish(process, run)
    assert result.reason == ExitReason.INVALID_CONFIG
    assert result.message is not None
    assert "optimization.epochs" in result.message
    assert process.returncode == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("program", ["train", "evaluate", "sample"])
def test_gpu_that_was_promised_and_is_not_there_ends_the_run(
    tmp_path: Path, run: RunDirectory, checkpoint: Path, dataset: Path, program: str
) -> None:
    if program != "train":
        run = RunDirectory(tmp_path / program)
        given = {"kind": program, "checkpoint": str(checkpoint)}
        extra = {"dataset": str(dataset)} if program == "evaluate" else {}
        run.create(RUN_CONFIG.validate_python(given | extra))
    process = start(program, run, {"NVAE_DEVICE": "cuda"})
    result = finish(process, run)
    assert (result.reason, process.returncode) == (ExitReason.GPU_UNAVAILABLE, 1)
    assert result.message is not None
    assert f"torch {torch.__version__}" in result.message
    assert "sees no GPU" in result.message
    assert not run.progress_path.exists()


def test_start_line_names_the_device(endless: RunDirectory) -> None:
    process = start("train", endless, {"NVAE_DEVICE": "cpu"})
    wait_until(lambda: has_metrics(endless), process)
    endless.request_stop()
    assert finish(process, endless).status == "stopped"
    _, started = next(iter(endless.read_progress()))
    assert isinstance(started, StartedLine)
    assert (started.device, started.torch, started.cuda) == ("cpu", torch.__version__, None)


def test_loss_that_is_not_finite_has_its_reason(run: RunDirectory) -> None:
    config = json.loads(run.config_path.read_text())
    config["optimization"] |= {"epochs": 20, "max_gradient_norm": 1e-9}
    run.config_path.write_text(json.dumps(config))
    assert finish(start("train", run), run).reason == ExitReason.NON_FINITE_LOSS


@pytest.mark.processes
def test_missing_data_set_fails_both_ranks(run: RunDirectory, train_config: TrainConfig) -> None:
    run.create(train_config.model_copy(update={"dataset": "nowhere"}))
    process = launch("train", run, num_ranks=2)
    result = finish(process, run)
    assert result.reason == ExitReason.INVALID_DATASET
    assert process.returncode == 1


@pytest.mark.processes
def test_evaluation_streams_its_estimates(tmp_path: Path, checkpoint: Path, dataset: Path) -> None:
    run = RunDirectory(tmp_path / "evaluation")
    run.create(
        EvaluateConfig(
            checkpoint=str(checkpoint), dataset=str(dataset), importance_samples=3, batch_size=4
        )
    )
    process = launch("evaluate", run, num_ranks=1)
    result = finish(process, run)
    assert process.returncode == 0
    lines = [line for _, line in run.read_progress() if isinstance(line, MetricsLine)]
    assert (lines[0].step, lines[-1].step) == (4, 10)  # the first at once, then once a second
    assert result.values == lines[-1].values


@pytest.mark.parametrize("batch_norm", ["running", "re-estimate"])
def test_sample_draws_one_grid(tmp_path: Path, checkpoint: Path, batch_norm: str) -> None:
    run = RunDirectory(tmp_path / "sample")
    config = {"checkpoint": str(checkpoint), "num_images": 6, "batch_norm": batch_norm}
    run.create(SampleConfig.model_validate(config))
    assert finish(start("sample", run), run).status == "succeeded"
    with Image.open(run.samples / "grid.png") as image:
        assert image.size == (3 * 14 + 2, 2 * 14 + 2)


@pytest.mark.parametrize(
    ("program", "asked"),
    [
        ("sample", {"output": ["grid", "array"], "batch_norm": "re-estimate"}),
        ("evaluate", {"importance_samples": 3}),
        ("analyze", {"analysis": "temperature_table", "temperatures": [0.7]}),
    ],
)
def test_what_is_left_does_not_depend_on_the_number_of_threads(
    tmp_path: Path, checkpoint: Path, dataset: Path, program: str, asked: dict[str, object]
) -> None:
    own = {"dataset": str(dataset)} if program == "evaluate" else {"re_estimation_draws": 3}
    given = {"kind": program, "checkpoint": str(checkpoint)} | asked | own
    config = RUN_CONFIG.validate_python(given)
    found = [files_on(tmp_path, program, config, num_threads) for num_threads in (1, 2)]
    assert found[0]
    assert found[0] == found[1]


def files_on(
    folder: Path, program: str, config: AnyRunConfig, num_threads: int
) -> dict[str, bytes]:
    """Return what a program leaves that is allowed so many threads."""
    run = RunDirectory(folder / f"threads_{num_threads}")
    run.create(config)
    process = launch(program, run, num_threads=num_threads)
    assert finish(process, run).status == "succeeded"
    left = [*run.path.glob("samples/*"), *run.path.glob("estimates/*")]
    return {path.name: path.read_bytes() for path in left}


def test_damaged_checkpoint_is_named_in_the_result(tmp_path: Path, checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").write_bytes(b"")
    run = RunDirectory(tmp_path / "sample")
    run.create(SampleConfig(checkpoint=str(checkpoint)))
    result = finish(start("sample", run), run)
    assert result.reason == ExitReason.CHECKPOINT_CORRUPT


def test_bundled_digits_are_prepared(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "prepare")
    run.create(PrepareDatasetConfig(source=BundledSource(name="mnist_5k")))
    result = finish(launch("prepare", run), run)
    assert result.values["num_train_images"] == 4500
    assert read_manifest(run.dataset).content_hash == result.values["content_hash"]


def test_broken_image_leaves_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "images" / name).write_text("no image")
    run = RunDirectory(tmp_path / "prepare")
    source = FolderSource(path=str(tmp_path / "images"), image_size=8)
    run.create(PrepareDatasetConfig(source=source))
    process = start("prepare", run)
    result = finish(process, run)
    assert result.reason == ExitReason.INVALID_DATASET
    assert result.message is not None
    assert result.message.startswith("source.path: ")
    assert process.returncode == 1
    assert not run.dataset.exists()


def test_rank_leaves_when_the_deadman_cannot_be_read(endless: RunDirectory) -> None:
    endless.extend_deadman(time.monotonic() + 3600)
    process = start("train", endless)
    wait_until(lambda: has_metrics(endless), process)
    endless.deadman_path.write_text("soon")
    assert process.wait(timeout=DEADLINE_SECONDS) == 1


def test_ctrl_c_stops_with_a_checkpoint(endless: RunDirectory) -> None:
    process = launch("train", endless)
    wait_until(lambda: has_metrics(endless), process)
    process.send_signal(signal.SIGINT)
    result = finish(process, endless)
    assert result.status == "stopped"
    assert (endless.checkpoints / f"step_{result.step:08d}").is_dir()


def test_second_run_in_one_directory_is_refused(run: RunDirectory) -> None:
    first = finish(start("train", run), run)
    process = start("train", run)
    assert process.wait(timeout=DEADLINE_SECONDS) == 2
    assert "take a new folder" in (run.path / "output.txt").read_text()
    assert run.read_result() == first


def test_configuration_that_is_no_text_is_invalid(run: RunDirectory) -> None:
    run.config_path.write_bytes(b'{"kind": "tr\xff\xfe"}')
    assert finish(start("train", run), run).reason == ExitReason.INVALID_CONFIG
