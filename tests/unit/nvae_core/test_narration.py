"""Progress lines in words."""

import pytest

from nvae_core.run_directory import (
    ArtifactLine,
    CheckpointLine,
    MetricsLine,
    NoticeLine,
    RunDirectory,
    StartedLine,
)
from nvae_core.run_directory.narration import narrate

AT = 1_790_000_000.0
TIME = "2026-09-21 14:13:20"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (StartedLine(at=AT, num_steps=840), "begins at 0 of 840"),
        (
            StartedLine(at=AT, num_steps=840, first_step=100, num_parameters=578206),
            "begins at 100 of 840, 578,206 parameters",
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
def test_line_is_told_with_its_time(line, words):
    assert narrate(line) == f"{TIME} {words}"


def test_what_is_reported_is_told_on_standard_error(tmp_path, capsys):
    run = RunDirectory(tmp_path)
    run.append(StartedLine(at=AT, num_steps=2))
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"{TIME} begins at 0 of 2\n")
