"""Who goes first, and onto which nodes."""

from queues import job, node, placed

from services.domain.cluster import NodeShare, NodeSlots
from services.domain.placement import Placement, place


def test_oldest_of_the_highest_priority_goes_first():
    queue = [job("young"), job("old", age=9), job("urgent", priority=90)]
    assert list(placed(place(queue, [node("a", 2)]))) == ["urgent", "old"]


def test_id_decides_between_jobs_of_the_same_moment():
    assert list(placed(place([job("b"), job("a")], [node("n", 1)]))) == ["a"]


def test_job_gets_as_many_slots_as_it_asked_for():
    nodes = [NodeSlots("a", free=(5, 1, 3), num_slots=8)]
    shares = (NodeShare("a", (1, 3)),)
    assert place([job("two", 2)], nodes).placements == [Placement("two", shares)]


def test_two_jobs_never_share_a_slot():
    decisions = place([job(f"job{i}", 2) for i in range(3)], [node("a", 4), node("b", 2)])
    shares = [share for placement in decisions.placements for share in placement.shares]
    taken = [(share.node_id, slot) for share in shares for slot in share.slots]
    assert len(taken) == len(set(taken)) == 6


def test_small_job_leaves_the_large_gap_whole():
    assert placed(place([job("small")], [node("a", 4), node("b", 1)])) == {"small": ["b"]}


def test_job_for_one_node_is_not_split():
    assert placed(place([job("two", 2)], [node("a", 1, of=2), node("b", 1, of=2)])) == {}


def test_gang_gets_its_slots_on_each_of_its_nodes():
    [placement] = place(
        [job("gang", 2, num_nodes=2)], [node("a", 2), node("b", 1), node("c", 3)]
    ).placements
    assert placement.shares == (NodeShare("a", (0, 1)), NodeShare("c", (0, 1)))


def test_gang_gets_all_its_nodes_or_none():
    decisions = place([job("gang", 2, num_nodes=3)], [node("a", 2), node("b", 2)])
    assert decisions.placements == []


def test_gang_runs_on_nodes_of_one_version():
    nodes = [node("a", 1, version="1"), node("b", 4, version="2"), node("c", 4, version="2")]
    assert placed(place([job("gang", num_nodes=2)], nodes)) == {"gang": ["b", "c"]}
    assert placed(place([job("gang", num_nodes=3)], nodes)) == {}


def test_gang_takes_the_version_that_leaves_more_whole_nodes():
    old = [node("a", 4, version="1"), node("b", 4, version="1")]
    new = [node("c", 2, of=4, version="2"), node("d", 2, of=4, version="2")]
    assert placed(place([job("gang", 2, num_nodes=2)], old + new)) == {"gang": ["c", "d"]}


def test_job_for_one_node_takes_any_version():
    nodes = [node("a", 2, version="1"), node("b", 1, version="2")]
    assert placed(place([job("one")], nodes)) == {"one": ["b"]}


def test_node_has_all_labels_of_the_job():
    nodes = [
        node("a", 1),
        node("b", 2, labels={"gpu": "h100"}),
        node("c", 3, labels={"gpu": "h100", "rack": "1"}),
    ]
    assert placed(place([job("j", labels={"gpu": "h100", "rack": "1"})], nodes)) == {"j": ["c"]}
    assert placed(place([job("j", labels={"gpu": "a100"})], nodes)) == {}


def test_job_waits_rather_than_return_to_a_node_it_failed_on():
    queue = [job("j", avoided=frozenset({"a"}))]
    assert placed(place(queue, [node("a", 1), node("b", 2)])) == {"j": ["b"]}
    assert placed(place(queue, [node("a", 1), node("b", 0, of=2)])) == {}


def test_job_returns_to_a_node_it_failed_on_if_no_other_could_ever_run_it():
    queue = [job("j", 2, avoided=frozenset({"a", "gone"}))]
    assert placed(place(queue, [node("a", 2), node("b", 1)])) == {"j": ["a"]}


def test_gang_that_could_not_do_without_it_uses_a_node_it_failed_on():
    queue = [job("gang", num_nodes=2, avoided=frozenset({"a"}))]
    nodes = [node("a", 1, version="1"), node("b", 1, version="1"), node("c", 1, version="2")]
    assert placed(place(queue, nodes)) == {"gang": ["a", "b"]}
