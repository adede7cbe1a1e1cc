"""Placement: priority, age, best fit, and no starvation of large jobs."""

from datetime import UTC, datetime, timedelta

from services.domain.placement import NodeSlots, Placement, QueuedJob, place

START = datetime(2026, 1, 1, tzinfo=UTC)


def job(name: str, num_slots: int = 1, *, priority: int = 50, age: int = 0) -> QueuedJob:
    return QueuedJob(name, num_slots, priority, START - timedelta(seconds=age))


def node(name: str, free: int, of: int | None = None) -> NodeSlots:
    return NodeSlots(name, tuple(range(free)), of or free)


def test_oldest_of_the_highest_priority_goes_first():
    queue = [job("young"), job("old", age=9), job("urgent", priority=90)]
    assert [placed.job_id for placed in place(queue, [node("a", 2)])] == ["urgent", "old"]


def test_job_gets_as_many_slots_as_it_asked_for():
    assert place([job("two", 2)], [node("a", 3)]) == [Placement("two", "a", (0, 1))]


def test_two_jobs_never_share_a_slot():
    placements = place([job(f"job{i}", 2) for i in range(3)], [node("a", 4), node("b", 2)])
    taken = [(placed.node_id, slot) for placed in placements for slot in placed.slots]
    assert len(taken) == len(set(taken)) == 6


def test_small_job_leaves_the_large_gap_whole():
    [placed] = place([job("small")], [node("large", 4), node("small", 1)])
    assert placed.node_id == "small"


def test_job_is_never_split_over_nodes():
    assert place([job("two", 2)], [node("a", 1, of=2), node("b", 1, of=2)]) == []


def test_small_jobs_do_not_starve_a_large_one_that_waits():
    queue = [job("large", 2, age=9), job("small")]
    assert place(queue, [node("a", 1, of=2)]) == []


def test_small_job_passes_where_it_does_not_delay_the_large_one():
    queue = [job("large", 2, age=9), job("small")]
    [placed] = place(queue, [node("a", 1, of=2), node("b", 1, of=1)])
    assert (placed.job_id, placed.node_id) == ("small", "b")


def test_job_too_large_for_every_node_holds_nothing_back():
    [placed] = place([job("huge", 8, age=9), job("small")], [node("a", 1)])
    assert placed.job_id == "small"
