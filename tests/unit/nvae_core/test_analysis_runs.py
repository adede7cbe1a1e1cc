"""Curves of runs from their progress files."""

import json
import math
from pathlib import Path

import pytest

from nvae_core.analysis.of_runs import summarize
from nvae_core.analysis.runs import Curve, read_curves
from nvae_core.config import RunFiles
from nvae_core.run_directory import InvalidRunDirectory, MetricsLine, StartedLine


def write(path: Path, *points: tuple[int, dict[str, float]]) -> RunFiles:
    lines = [MetricsLine(at=0.0, step=step, values=values) for step, values in points]
    started = StartedLine(at=0.0, num_steps=10).model_dump_json()
    path.write_text("\n".join([started, *(line.model_dump_json() for line in lines)]) + "\n")
    return RunFiles(name="one", path=path.name)


def test_of_a_step_reported_twice_the_last_value_counts(tmp_path: Path) -> None:
    points = [(1, {"kl": 5.0}), (2, {"kl": 6.0, "loss": 1.0}), (1, {"kl": 4.0}), (3, {"loss": 2.0})]
    curves = read_curves(tmp_path, write(tmp_path / "p.jsonl", *points), ["kl", "loss"])
    assert curves == {"kl": Curve((1, 2), (4.0, 6.0)), "loss": Curve((2, 3), (1.0, 2.0))}


def test_run_directory_stands_for_its_progress_file(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    write(tmp_path / "run" / "progress.jsonl", (1, {"kl": math.inf}))
    curves = read_curves(tmp_path, RunFiles(name="one", path="run"), ["kl"])
    assert curves["kl"].values == (math.inf,)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no file"),
        ("", "has no values of kl"),
        (json.dumps({"type": "metrics"}) + "\n", "byte 0"),
    ],
)
def test_what_cannot_be_drawn_names_the_run(
    tmp_path: Path, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "p.jsonl").write_text(content)
    with pytest.raises(InvalidRunDirectory, match=f"runs: one: .*{words}"):
        read_curves(tmp_path, RunFiles(name="one", path="p.jsonl"), ["kl"])


def test_extremes_of_a_curve_are_those_of_its_finite_values() -> None:
    summary = summarize(Curve((1, 2, 3, 5), (2.0, math.nan, -1.0, math.inf)))
    assert (summary["lowest"], summary["highest"], summary["num_not_finite"]) == (-1.0, 2.0, 2)
    assert (summary["first"], summary["last"]) == (
        {"step": 1, "value": 2.0},
        {"step": 5, "value": math.inf},
    )
