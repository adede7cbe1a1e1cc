"""A rank that takes far longer than usual is found, and so is one that never says anything."""

import pytest

from nvae_core.run_directory import Phase, RankFile, RunDirectory
from services.worker.trainer.watchdogs import StallWatch


@pytest.fixture
def clock():
    """A clock that stands until it is set."""
    return [1000.0]


@pytest.fixture
def run_directory(tmp_path):
    return RunDirectory(tmp_path)


@pytest.fixture
def watch(run_directory, clock):
    return StallWatch(run_directory, step_seconds=60, phase_seconds=1800, started_at=clock[0])


@pytest.fixture
def rank(run_directory, clock):
    return RankFile(run_directory.rank_path(0), clock=lambda: clock[0])


def train(rank, watch, clock, *, step_seconds):
    for step in range(5):
        clock[0] += step_seconds
        rank.enter(Phase.STEP, step, step_seconds=step_seconds)
        assert watch.look(clock[0]) is None


def test_step_that_takes_a_minute_longer_than_short_ones_is_a_stall(watch, rank, clock):
    train(rank, watch, clock, step_seconds=0.5)
    assert watch.look(clock[0] + 59) is None
    assert watch.look(clock[0] + 61) == "rank 0 hangs in step of step 4 for 61 s"


def test_long_steps_may_take_ten_times_the_median(watch, rank, clock):
    train(rank, watch, clock, step_seconds=20)
    assert watch.look(clock[0] + 199) is None
    assert "rank 0 hangs" in watch.look(clock[0] + 201)


def test_other_phases_may_take_longer(watch, rank, clock):
    train(rank, watch, clock, step_seconds=0.5)
    rank.enter(Phase.SAVE, 5)
    assert watch.look(clock[0] + 1799) is None
    assert "save" in watch.look(clock[0] + 1801)


def test_trainer_that_never_says_where_it_is_hangs_at_the_start(watch, clock):
    assert watch.look(clock[0] + 1799) is None
    assert watch.look(clock[0] + 1801) == "no rank has said anything for 1801 s"


def test_program_that_has_no_ranks_to_speak_of_may_be_silent(run_directory):
    watch = StallWatch(run_directory, step_seconds=60, phase_seconds=1800, started_at=None)
    assert watch.look(10**6) is None


def test_file_that_is_no_rank_s_is_not_taken_for_one(run_directory, watch, clock):
    run_directory.ranks.mkdir()
    run_directory.rank_path(0).write_bytes(b"garbage")
    assert watch.look(clock[0]) is None
    assert "no rank has said anything" in watch.look(clock[0] + 1801)


def test_ranks_that_wait_for_one_that_saves_do_not_hang(run_directory, watch, rank, clock):
    train(rank, watch, clock, step_seconds=0.5)
    other = RankFile(run_directory.rank_path(1), clock=lambda: clock[0])
    other.enter(Phase.STEP, 5, step_seconds=0.5)
    rank.enter(Phase.SAVE, 5)
    assert watch.look(clock[0] + 100) is None


def test_node_without_rank_0_cannot_know_whether_that_saves(run_directory, watch, clock):
    rank = RankFile(run_directory.rank_path(4), clock=lambda: clock[0])
    train(rank, watch, clock, step_seconds=0.5)
    assert watch.look(clock[0] + 100) is None
    assert "rank 4 hangs" in watch.look(clock[0] + 1801)
