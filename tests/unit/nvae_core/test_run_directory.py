"""Files of a run directory: progress, result, ranks and their phases."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nvae_core.run_directory import (
    ArtifactLine,
    CheckpointLine,
    ExitReason,
    MetricsLine,
    NoticeLine,
    Phase,
    PhaseLog,
    ProgressLine,
    RankFile,
    Result,
    RunDirectory,
    StartedLine,
    format_line,
    is_disk_full,
    read_rank_file,
)

AT = 1_790_000_000.0
TIME = "2026-09-21 14:13:20"


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))
    return ballast


def long_line(step: int) -> NoticeLine:
    return NoticeLine(at=0.0, name="long", message="x" * 5000, step=step)


def steps(run: RunDirectory) -> list[int | None]:
    return [line.step for _, line in run.read_progress() if isinstance(line, NoticeLine)]


def test_lines_that_do_not_fit_on_a_full_disk_come_later_and_whole(
    mount_disk: Callable[[int], Path],
) -> None:
    disk = mount_disk(256 * 1024)
    run = RunDirectory(disk)
    run.append(long_line(0))
    ballast = fill(disk)
    run.append(long_line(1))
    run.append(long_line(2))
    assert steps(run) == [0]
    with pytest.raises(OSError, match="No space left") as caught:
        run.finish_progress()
    assert is_disk_full(caught.value)
    ballast.unlink()
    run.append(long_line(3))
    assert steps(run) == [0, 1, 2, 3]


def test_result_is_written_on_a_full_disk(mount_disk: Callable[[int], Path]) -> None:
    disk = mount_disk(256 * 1024)
    run = RunDirectory(disk)
    run.reserve_result()
    fill(disk)
    run.write_result(Result(status="failed", reason=ExitReason.DISK_FULL))
    result = run.read_result()
    assert result is not None
    assert result.reason == ExitReason.DISK_FULL


def test_first_result_is_kept(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_result(Result(status="failed", reason=ExitReason.STALLED))
    run.write_result(Result(status="succeeded"))
    result = run.read_result()
    assert result is not None
    assert result.reason == ExitReason.STALLED
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_numbers_that_are_not_finite_survive_the_progress(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.append(MetricsLine(at=0.0, step=1, values={"loss": math.nan, "kl": -math.inf}))
    ((_, line),) = run.read_progress()
    assert isinstance(line, MetricsLine)
    assert math.isnan(line.values["loss"])
    assert line.values["kl"] == -math.inf


def test_rank_file_says_what_a_rank_does_and_since_when(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    moments = iter([1.0, 2.0, 3.0])
    rank_file = RankFile(run.rank_path(1), clock=lambda: next(moments))
    rank_file.enter(Phase.STEP, 5, step_seconds=0.25)
    rank_file.enter(Phase.SAVE, 6)
    state = run.read_ranks()[1]
    assert (state.phase, state.step, state.since) == (Phase.SAVE, 6, 3.0)
    assert (state.process_id, state.step_seconds) == (os.getpid(), 0.25)
    assert state.describe(now=13.4) == "save of step 6 for 10 s"


def test_file_that_is_no_rank_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rank_0.bin").write_bytes(b"NVAERANK")
    with pytest.raises(ValueError, match=r"rank_0\.bin: is not the file of a rank"):
        read_rank_file(tmp_path / "rank_0.bin")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (StartedLine(at=AT, num_steps=840), "begins at 0 of 840"),
        (
            StartedLine(at=AT, num_steps=840, first_step=100, num_parameters=578206),
            "begins at 100 of 840, 578,206 parameters",
        ),
        (
            StartedLine(at=AT, num_steps=840, device="NVIDIA H100", torch="2.13.0", cuda="13.0"),
            "begins at 0 of 840, on NVIDIA H100, torch 2.13.0, CUDA 13.0",
        ),
        (
            StartedLine(at=AT, num_steps=840, device="cpu", torch="2.13.0"),
            "begins at 0 of 840, on cpu, torch 2.13.0",
        ),
        (
            MetricsLine(at=AT, step=7, values={"x": 1, "kl": 3.14159, "loss": float("nan")}),
            "step 7: loss nan, kl 3.14",
        ),
        (MetricsLine(at=AT, step=7, values={"validation/kl": 2.5}), "step 7: validation/kl 2.5"),
        (CheckpointLine(at=AT, step=7, path="checkpoints/7"), "step 7: checkpoint checkpoints/7"),
        (
            ArtifactLine(at=AT, name="grid.png", path="p", content_type="image/png"),
            "wrote grid.png",
        ),
        (
            NoticeLine(at=AT, name="disk_full", message="no room", step=3),
            "step 3: disk_full: no room",
        ),
    ],
)
def test_line_is_formatted_with_its_time(line: ProgressLine, words: str) -> None:
    assert format_line(line) == f"{TIME} {words}"


def test_start_of_a_file_from_before_the_device_was_in_it_is_read(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.progress_path.write_text('{"at": 1.0, "type": "started", "num_steps": 5}\n')
    [(_, line)] = run.read_progress()
    assert line == StartedLine(at=1.0, num_steps=5)


def test_what_is_reported_is_on_standard_error_as_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory(tmp_path)
    run.append(StartedLine(at=AT, num_steps=2))
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"{TIME} begins at 0 of 2\n")


@pytest.fixture
def traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.setenv("TRACEPARENT", "00-1-2-01")
    return RunDirectory(tmp_path)


def phases(run: RunDirectory, rank: int = 0) -> list[tuple[str, int]]:
    return [(line.phase, line.step) for line in run.read_phases()[rank]]


def test_steps_are_one_phase_and_every_other_phase_is_one_of_its_own(traced: RunDirectory) -> None:
    rank_file = traced.open_rank_file(0)
    for step in range(3):
        rank_file.enter(Phase.DATA, step)
        rank_file.enter(Phase.STEP, step)
    rank_file.enter(Phase.EVALUATE, 3)
    rank_file.enter(Phase.EVALUATE, 3)  # another batch
    rank_file.enter(Phase.SAVE, 3)
    rank_file.enter(Phase.DATA, 3)
    rank_file.enter(Phase.END, 4)
    assert phases(traced) == [
        *(("start", 0), ("train", 0), ("evaluate", 3)),
        *(("save", 3), ("train", 3), ("end", 4)),
    ]


def test_times_are_those_of_the_clock(tmp_path: Path) -> None:
    moments = iter([1.5, 4.25])
    log = PhaseLog(tmp_path / "ranks" / "rank_2.phases.jsonl", clock=lambda: next(moments))
    log.enter(Phase.START, 0)
    log.enter(Phase.END, 0)
    assert [line.at for line in RunDirectory(tmp_path).read_phases()[2]] == [1.5, 4.25]


def test_rank_that_is_not_traced_keeps_no_file(
    traced: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRACEPARENT")
    traced.open_rank_file(0).enter(Phase.STEP, 1)
    assert traced.read_phases() == {}
    assert traced.read_ranks()[0].step == 1


def test_line_that_is_being_written_is_not_read(traced: RunDirectory) -> None:
    traced.open_rank_file(0)
    with traced.phases_path(0).open("a") as file:
        file.write('{"at": 1')
    assert phases(traced) == [("start", 0)]


def test_garbage_is_refused(traced: RunDirectory) -> None:
    traced.open_rank_file(0)
    with traced.phases_path(0).open("a") as file:
        file.write("nonsense\n")
    with pytest.raises(ValueError, match=r"rank_0\.phases"):
        phases(traced)


def test_folder_that_cannot_be_written_costs_the_phases_only(traced: RunDirectory) -> None:
    rank_file = traced.open_rank_file(0)
    traced.phases_path(0).unlink()
    traced.phases_path(0).mkdir()
    rank_file.enter(Phase.STEP, 1)
    assert rank_file.state.step == 1
