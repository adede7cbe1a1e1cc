"""Spans of ranks, from the files that they leave."""

import time

import pytest

from nvae_core.run_directory import Phase, PhaseLog, RunDirectory
from services.telemetry import tracing
from services.worker.publish import rank_spans
from services.worker.publish.rank_spans import record_rank_spans

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRAINER = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path)


@pytest.fixture
def trace(run, traced):
    """Return a function that traces what the ranks left and returns the spans."""

    def spans():
        record_rank_spans(run, parent=TRAINER)
        tracing.stop()
        return traced.of(TRACE)

    return spans


def write(run, rank, *phases):
    """Leave the phases of a rank: moment, phase, step."""
    moments = iter([at for at, _, _ in phases])
    log = PhaseLog(run.phases_path(rank), clock=lambda: next(moments))
    for _, phase, step in phases:
        log.enter(phase, step)


def test_rank_that_came_to_its_end_has_a_span_and_its_phases_below(run, trace):
    write(
        *(run, 1, (10.0, Phase.START, 0), (12.0, Phase.STEP, 0), (20.0, Phase.SAVE, 5)),
        *((21.0, Phase.STEP, 5), (30.0, Phase.END, 9)),
    )
    rank, *phases = trace()
    assert (rank.name, rank.error) == ("rank", None)
    assert (rank.started_at, rank.ended_at) == (10.0, 30.0)
    assert rank.parent_id == "b7ad6b7169203331"
    assert rank.attributes == {
        "nvae.rank": 1,
        "nvae.step": 9,
        "nvae.phase.start.seconds": 2.0,
        "nvae.phase.start.count": 1,
        "nvae.phase.train.seconds": 17.0,
        "nvae.phase.train.count": 2,
        "nvae.phase.save.seconds": 1.0,
        "nvae.phase.save.count": 1,
    }
    assert {phase.parent_id for phase in phases} == {rank.span_id}
    assert [(phase.name, phase.started_at, phase.ended_at) for phase in phases] == [
        ("start", 10.0, 12.0),
        ("train", 12.0, 20.0),
        ("save", 20.0, 21.0),
        ("train", 21.0, 30.0),
    ]


def test_rank_that_was_killed_ends_when_it_was_last_heard_of(run, trace, monkeypatch):
    monkeypatch.setenv("TRACEPARENT", TRAINER)
    began_at = time.time()
    rank_file = run.open_rank_file(0)
    rank_file.enter(Phase.DATA, 0)
    rank_file.enter(Phase.STEP, 1)  # no line of its own
    heard_at = time.time()
    time.sleep(0.05)
    rank = trace()[0]
    assert rank.error == "last heard of in train"
    assert began_at <= rank.started_at <= rank.ended_at
    assert rank.ended_at == pytest.approx(heard_at, abs=0.02)


def test_only_the_longest_phases_of_many_are_told_one_by_one(run, trace, monkeypatch):
    monkeypatch.setattr(rank_spans, "MAX_PHASES", 4)
    for rank in (0, 1):
        saved = [(at, phase, 0) for at in range(100) for phase in (Phase.STEP, Phase.SAVE)]
        # Of each second a tenth is saving, but for one.
        timed = [(at + 0.9 * (phase == Phase.SAVE), phase, step) for at, phase, step in saved]
        write(run, rank, *timed, (110.0, Phase.END, 0))
    spans = trace()
    ranks = [span for span in spans if span.name == "rank"]
    assert [span.attributes["nvae.phase.save.count"] for span in ranks] == [100, 100]
    phases = [span for span in spans if span.name != "rank"]
    assert sorted(span.name for span in phases) == ["save", "save", "train", "train"]
    [longest, _] = [span for span in phases if span.name == "save"]
    assert longest.ended_at == 110.0


def test_what_cannot_be_read_costs_nothing_but_itself(run, trace):
    run.ranks.mkdir()
    run.phases_path(0).write_text("nonsense\n")
    assert trace() == []


def test_trainer_without_such_files_has_no_ranks_to_tell_of(run, trace):
    assert trace() == []
