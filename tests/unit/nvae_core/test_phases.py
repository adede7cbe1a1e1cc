"""The phases that a rank notes, if it is traced."""

import pytest

from nvae_core.run_directory import Phase, PhaseLog, RunDirectory


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACEPARENT", "00-1-2-01")
    return RunDirectory(tmp_path)


def phases(run, rank=0):
    return [(line.phase, line.step) for line in run.read_phases()[rank]]


def test_steps_are_one_phase_and_every_other_phase_is_one_of_its_own(run):
    rank_file = run.open_rank_file(0)
    for step in range(3):
        rank_file.enter(Phase.DATA, step)
        rank_file.enter(Phase.STEP, step)
    rank_file.enter(Phase.EVALUATE, 3)
    rank_file.enter(Phase.EVALUATE, 3)  # another batch
    rank_file.enter(Phase.SAVE, 3)
    rank_file.enter(Phase.DATA, 3)
    rank_file.enter(Phase.END, 4)
    assert phases(run) == [
        *(("start", 0), ("train", 0), ("evaluate", 3)),
        *(("save", 3), ("train", 3), ("end", 4)),
    ]


def test_times_are_those_of_the_clock(tmp_path):
    moments = iter([1.5, 4.25])
    log = PhaseLog(tmp_path / "ranks" / "rank_2.phases.jsonl", clock=lambda: next(moments))
    log.enter(Phase.START, 0)
    log.enter(Phase.END, 0)
    assert [line.at for line in RunDirectory(tmp_path).read_phases()[2]] == [1.5, 4.25]


def test_rank_that_is_not_traced_keeps_no_file(run, monkeypatch):
    monkeypatch.delenv("TRACEPARENT")
    run.open_rank_file(0).enter(Phase.STEP, 1)
    assert run.read_phases() == {}
    assert run.read_ranks()[0].step == 1


def test_line_that_is_being_written_is_not_read(run):
    run.open_rank_file(0)
    with run.phases_path(0).open("a") as file:
        file.write('{"at": 1')
    assert phases(run) == [("start", 0)]


def test_garbage_is_refused(run):
    run.open_rank_file(0)
    with run.phases_path(0).open("a") as file:
        file.write("nonsense\n")
    with pytest.raises(ValueError, match=r"rank_0\.phases"):
        phases(run)


def test_folder_that_cannot_be_written_costs_the_phases_only(run):
    rank_file = run.open_rank_file(0)
    run.phases_path(0).unlink()
    run.phases_path(0).mkdir()
    rank_file.enter(Phase.STEP, 1)
    assert rank_file.state.step == 1
