"""Jobs that wait hold back what they need, and nothing else."""

from queues import job, node, placed

from services.domain.placement import place


def test_small_jobs_do_not_starve_a_large_one_that_waits():
    queue = [job("large", 2, age=9), job("small")]
    assert placed(place(queue, [node("a", 1, of=2)])) == {}


def test_small_job_passes_where_the_large_one_does_not_wait():
    queue = [job("large", 2, age=9), job("small")]
    assert placed(place(queue, [node("a", 1, of=2), node("b", 1)])) == {"small": ["b"]}


def test_large_job_waits_for_the_node_that_has_to_give_back_the_fewest_slots():
    queue = [job("large", 4, age=9), job("small"), job("tiny")]
    nodes = [node("a", 1, of=4), node("b", 2, of=4)]
    assert placed(place(queue, nodes)) == {"small": ["a"]}


def test_large_job_waits_for_short_jobs_rather_than_for_training():
    queue = [job("large", 4, age=9), job("small")]
    nodes = [node("a", 2, of=4, soon_free=2), node("b", 3, of=4)]
    assert placed(place(queue, nodes)) == {"small": ["b"]}


def test_every_job_that_waits_holds_a_node_back():
    queue = [job("first", 2, age=9), job("second", 2, age=8), job("small"), job("tiny")]
    nodes = [node("a", 1, of=2), node("b", 1, of=2), node("c", 1, of=2)]
    assert placed(place(queue, nodes)) == {"small": ["c"]}


def test_two_small_jobs_that_wait_share_a_node():
    queue = [job("first", 2, age=9), job("second", 2, age=8), job("third", 1)]
    nodes = [node("a", 1, of=5), node("b", 0, of=5)]
    assert placed(place(queue, nodes)) == {}


def test_job_too_large_for_every_node_holds_nothing_back():
    queue = [job("huge", 8, age=9), job("small")]
    assert placed(place(queue, [node("a", 1)])) == {"small": ["a"]}


def test_job_whose_labels_no_node_has_holds_nothing_back():
    queue = [job("picky", labels={"gpu": "h100"}, age=9), job("small")]
    assert placed(place(queue, [node("a", 1)])) == {"small": ["a"]}


def test_gang_that_waits_holds_back_its_nodes_but_not_what_it_leaves_of_them():
    queue = [job("gang", 2, num_nodes=2, age=9), *(job(f"small{i}") for i in range(3))]
    nodes = [node("a", 4), node("b", 1, of=4), node("c", 0, of=4)]
    assert placed(place(queue, nodes)) == {"small0": ["a"], "small1": ["a"]}


def test_gang_waits_for_nodes_of_one_version():
    queue = [job("gang", 2, num_nodes=2, age=9), job("small1"), job("small2")]
    nodes = [
        node("a", 1, of=2, version="1"),
        node("b", 1, of=2, version="2"),
        node("c", 1, of=2, version="2"),
    ]
    assert placed(place(queue, nodes)) == {"small1": ["a"]}


def test_short_job_passes_while_the_large_one_waits_for_training():
    queue = [job("large", 4, age=9), job("short", is_short=True)]
    assert placed(place(queue, [node("a", 2, of=4, soon_free=1)])) == {"short": ["a"]}


def test_no_short_job_passes_once_the_large_one_waits_only_for_short_ones():
    queue = [job("large", 4, age=9), job("short", is_short=True)]
    assert placed(place(queue, [node("a", 2, of=4, soon_free=2)])) == {}


def test_long_job_does_not_pass_where_a_short_one_may():
    queue = [job("large", 4, age=9), job("long", age=8), job("short", is_short=True)]
    assert placed(place(queue, [node("a", 1, of=4)])) == {"short": ["a"]}


def test_short_job_takes_what_nobody_waits_for_first():
    queue = [job("large", 4, age=9), job("short", is_short=True)]
    nodes = [node("a", 1, of=4), node("b", 3)]
    assert placed(place(queue, nodes)) == {"short": ["b"]}


def test_short_job_passes_a_second_job_that_waits_for_training_but_not_the_first():
    queue = [job("first", 2, age=9), job("second", 4, age=8), job("short", is_short=True)]
    nodes = [node("a", 1, of=4, soon_free=1)]
    assert placed(place(queue, nodes)) == {}
