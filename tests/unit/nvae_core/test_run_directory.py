import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nvae_core.run_directory import (
    ExitReason,
    MetricsLine,
    NoticeLine,
    Phase,
    RankFile,
    Result,
    RunDirectory,
    is_disk_full,
    read_rank_file,
)


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
