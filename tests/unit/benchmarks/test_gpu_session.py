"""The session on a GPU, rehearsed on a CPU: it has to run where nobody can mend it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SECTIONS = (
    *("ceilings", "right", "synchronisations", "eager", "bits", "operations", "weights"),
    *("compiled", "graph", "large", "programs", "checkpoint", "sampling"),
)


def run_session(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_session", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return done, {line["section"]: line for line in lines}


@pytest.mark.processes
def test_rehearsal_gives_a_line_for_each_section():
    done, lines = run_session("--device", "cpu", "--size", "tiny")
    problems = {name: line for name, line in lines.items() if {"error", "timeout"} & line.keys()}
    assert not problems, problems
    assert done.returncode == 0, done.stderr
    assert tuple(lines) == SECTIONS
    assert lines["right"]["float32"]["gradient"] < 1e-5
    assert lines["right"]["bf16"]["gradient"] < 0.05
    # On a CPU the optimizer looks whether the step is taken, and at its rate.
    reads = {place.partition(":")[0] for place in lines["synchronisations"]["reads"]}
    assert reads == {"adamax.py"}
    assert lines["eager"]["images_per_second"] > 0
    assert lines["eager"]["launches"] > 0
    assert lines["eager"]["kernels"]
    assert lines["bits"]["deterministic"]["equal"]
    assert lines["compiled"]["breaks"] == 0
    assert lines["graph"]["eager"]["equal"]
    assert lines["large"]["out_of_memory"][0] == "out_of_memory"
    for program in ("trained", "resumed", "sampled", "evaluated"):
        assert lines["programs"][program] == {"status": "succeeded"}
    assert lines["programs"]["stopped"] == {"status": "stopped"}
    assert lines["programs"]["pictures"] == 2
    assert lines["programs"]["validated"]
    assert lines["programs"]["resumed_is_equal"]
    assert lines["checkpoint"]["gigabytes"] > 0
    assert lines["sampling"]["importance_samples_per_second"] > 0


@pytest.mark.budget(12)
def test_failures_leave_what_was_measured_and_the_other_sections(tmp_path):
    out = tmp_path / "lines.jsonl"
    sections = ["raises", "dies", "hangs", "raises"]
    done, lines = run_session("--device", "cpu", "--size", "tiny", "--out", str(out), *sections)
    assert done.returncode == 1
    assert lines["raises"]["error"] == "RuntimeError: on purpose"
    assert "gpu_session.py" in lines["raises"]["traceback"]
    assert lines["dies"]["error"] == "the process ended with status -9"
    assert lines["hangs"]["timeout"] == 5
    assert lines["raises"]["before"] == lines["dies"]["before"] == 1
    assert out.read_text() == done.stdout
    assert [json.loads(line)["section"] for line in done.stdout.splitlines()] == sections


def test_sections_left_when_time_is_over_are_told():
    done, lines = run_session("--device", "cuda", "--seconds", "0", "ceilings", "eager")
    assert done.returncode == 1
    for name in ("ceilings", "eager"):
        assert lines[name] == {"section": name, "seconds": 0.0, "timeout": 0.0}


def test_unknown_section_is_named():
    done, _ = run_session("ceilings", "nothing")
    assert done.returncode == 2
    assert "SECTION: nothing" in done.stderr
