"""Comparisons of runs: the numbers are what the runs reported, and name what they lack."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from analyses import artifacts, write_progress
from pydantic import ValidationError

from nvae_core.config import RUN_CONFIG, RunMetrics
from nvae_core.run_directory import RunDirectory

WHOLE = {"not_finite_steps": []}


@pytest.fixture
def compare(run_analysis, tmp_path: Path):
    """Return a function that compares runs, given by name as values by step."""

    def compare(analysis: str, reported: Mapping[str, dict[int, dict[str, float]]], **fields):
        runs = [
            {"name": name, "path": str(write_progress(tmp_path / f"{analysis}_{name}", values))}
            | fields
            for name, values in reported.items()
        ]
        return run_analysis(analysis=analysis, runs=runs)

    return compare


def record_of(run: RunDirectory, name: str) -> dict[str, object]:
    return json.loads(artifacts(run)[f"{name}.json"])


def test_curves_are_what_runs_reported_and_say_where_it_was_not_finite(compare) -> None:
    first = {step: {"loss": 9.0 / step, "kl": math.nan if step == 2 else 1.0} for step in (1, 2, 3)}
    second = {1: {"loss": 4.0, "spectral_weight": 0.1}, 5: {"spectral_weight": math.inf}}
    result, run = compare("training_curves", {"a": first, "b": second})
    assert result.status == "succeeded", result.message
    curves = record_of(run, "training_curves")["curves"]
    assert [*curves] == ["loss (nats)", "−ELBO (nats)", "KL (nats)", "λ"]
    assert curves["loss (nats)"] == [
        {"name": "a", "steps": [1, 2, 3], "values": [9.0, 4.5, 3.0]} | WHOLE,
        {"name": "b", "steps": [1], "values": [4.0]} | WHOLE,
    ]
    assert curves["KL (nats)"][0] == {
        "name": "a",
        "steps": [1, 3],
        "values": [1.0, 1.0],
        "not_finite_steps": [2],
    }
    assert curves["λ"] == [
        {"name": "a", "steps": [], "values": []} | WHOLE,
        {"name": "b", "steps": [1], "values": [0.1], "not_finite_steps": [5]},
    ]


def test_picture_is_of_the_curves_in_the_order_of_the_runs(compare, monkeypatch) -> None:
    drawn = {}

    def keep(panels, *, title: str) -> bytes:
        drawn.update(panels)
        return b""

    monkeypatch.setattr("nvae_core.analysis.experiments.curves.draw_curves", keep)
    compare("training_curves", {"b": {1: {"loss": 4.0}}, "a": {1: {"loss": 5.0, "kl": 6.0}}})
    assert [(curve.name, curve.values) for curve in drawn["loss (nats)"]] == [
        ("b", [4.0]),
        ("a", [5.0]),
    ]
    assert [curve.values for curve in drawn["KL (nats)"]] == [[], [6.0]]


def test_groups_are_in_the_order_of_their_numbers_and_keep_their_places(compare) -> None:
    numbers = {0: 3.0, 1: math.nan, 11: 5.0, 100: 7.0}
    channels = {f"active_channels/group_{number:02d}": of for number, of in numbers.items()}
    later = {"active_channels": 9.0, "active_channels/group_00": 4.0}
    result, run = compare(
        "active_channels",
        {
            "a": {1: {"active_channels": 8.0} | channels, 2: later},
            "b": {1: {"active_channels": 1.0}},
        },
    )
    assert result.values == {"pictures": ["active_channels.png", "active_channels_per_group.png"]}
    record = record_of(run, "active_channels_per_group")
    groups = record["groups"]["a"]
    assert len(groups) == 101
    assert {place: value for place, value in enumerate(groups) if value is not None} == {
        0: 4.0,
        11: 5.0,
        100: 7.0,
    }
    assert record["groups"]["b"] == []
    first, second = record["series"]
    assert (first["name"], first["steps"]) == ("a", [1, 2])
    assert [first["groups"][number] for number in (0, 1, 11)] == [[3, 4], [None, None], [5, None]]
    assert second == {"name": "b", "steps": [], "groups": []}


def test_runs_without_groups_have_no_picture_of_them(compare) -> None:
    result, _ = compare("active_channels", {"a": {1: {"active_channels": math.nan}}})
    assert result.values == {"pictures": ["active_channels.png"]}


@pytest.mark.parametrize(
    ("analysis", "missing"),
    [("training_curves", "loss"), ("active_channels", "active_channels")],
)
def test_a_run_without_what_is_shown_is_refused_by_its_place(compare, analysis, missing) -> None:
    shown = {"loss": 1.0, "active_channels": 1.0}
    reported = {"a": {1: shown}, "b": {1: {"negative_elbo": 3.0}}}
    result, run = compare(analysis, reported)
    assert (result.status, result.reason) == ("failed", "invalid_config")
    assert result.message.startswith("runs.1: ")
    assert result.message.endswith(f"reported no {missing}")
    assert artifacts(run) == {}


def test_a_job_is_named_by_its_id_and_not_by_a_path_of_this_machine(compare) -> None:
    result, _ = compare("training_curves", {"a": {1: {"other": 1.0}}}, job="job_1")
    assert result.message == "runs.0: job job_1: reported no loss"


def test_a_run_that_is_not_there_is_refused_by_its_place(run_analysis) -> None:
    runs = [{"name": "a", "path": "nowhere"}]
    result, run = run_analysis(analysis="training_curves", runs=runs)
    assert result.reason == "invalid_config"
    assert result.message == f"runs.0: {run.path / 'nowhere'}: No such file or directory"


def test_record_says_of_which_job_and_which_lines_a_curve_is(compare, tmp_path: Path) -> None:
    result, run = compare("training_curves", {"a": {1: {"loss": 1.0}}}, job="job_1")
    assert result.status == "succeeded", result.message
    record = record_of(run, "training_curves")
    assert record["inputs"]["runs"] == [{"name": "a", "job": "job_1"}]
    lines = (tmp_path / "training_curves_a" / "progress.jsonl").read_bytes()
    assert record["runs"] == [{"name": "a", "lines_sha256": hashlib.sha256(lines).hexdigest()}]


def test_lines_that_are_still_being_written_are_not_among_those_read(
    run_analysis, tmp_path: Path
) -> None:
    path = write_progress(tmp_path / "first", {1: {"loss": 1.0}})
    lines = (path / "progress.jsonl").read_bytes()
    (path / "progress.jsonl").write_bytes(lines + b'{"type": "metr')
    _, run = run_analysis(analysis="training_curves", runs=[{"name": "a", "path": str(path)}])
    [read] = record_of(run, "training_curves")["runs"]
    assert read["lines_sha256"] == hashlib.sha256(lines).hexdigest()


def test_names_are_stripped() -> None:
    assert RunMetrics(name=" a b ", path="p").name == "a b"


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a\x85b", "a\u2028b", " ", "", "x" * 61])
def test_names_that_a_legend_cannot_show_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        RunMetrics(name=name, path="p")


def test_names_that_differ_by_blanks_alone_are_refused() -> None:
    runs = [{"name": "a", "path": "p"}, {"name": "a ", "path": "q"}]
    with pytest.raises(ValidationError, match="two have the name 'a'"):
        RUN_CONFIG.validate_python({"kind": "analyze", "analysis": "training_curves", "runs": runs})


def test_paths_of_runs_have_no_zero_bytes() -> None:
    with pytest.raises(ValidationError, match="path"):
        RunMetrics(name="a", path="p\0q")
