"""A job that is not placed says why, and what would help."""

from queues import job, messages, node

H100 = {"gpu": "h100"}


def message(waiting, *nodes):
    return messages([waiting], nodes)[waiting.id]


def test_job_says_what_it_waits_for():
    assert message(job("j"), node("a", 0, of=1)) == "waits for 1 free slot on one node"
    assert message(job("j", 2), node("a", 1, of=2)) == "waits for 2 free slots on one node"
    gang = job("j", 8, num_nodes=4)
    full = [node(name, 0, of=8) for name in "abcd"]
    assert message(gang, *full) == "waits for 4 nodes with 8 free slots each"


def test_labels_are_named():
    nodes = [node(name, 0, of=2, labels=H100 | {"rack": "1"}) for name in "ab"]
    one, gang = job("j", 2, labels=H100), job("j", 2, num_nodes=2, labels=nodes[0].labels)
    assert message(one, *nodes) == "waits for 2 free slots on one node with the label gpu=h100"
    assert message(gang, *nodes) == (
        "waits for 2 nodes with 2 free slots each and the labels gpu=h100, rack=1"
    )


def test_gang_says_that_its_nodes_must_be_of_one_version():
    nodes = [node(name, 1, of=2, version=version) for name, version in ("a1", "b1", "c2")]
    gang = job("j", 2, num_nodes=2)
    assert message(gang, *nodes) == "waits for 2 nodes of one version with 2 free slots each"


def test_job_says_that_it_does_not_return_to_a_node_it_failed_on():
    waiting = job("j", avoided=frozenset({"a"}))
    assert message(waiting, node("a", 1), node("b", 0, of=1)) == (
        "waits for 1 free slot on one node, other than those it failed on"
    )
    assert message(waiting, node("a", 0, of=1)) == "waits for 1 free slot on one node"


def test_job_names_the_one_that_holds_it_back():
    queue = [job("large", 2, age=9), job("small", age=1), job("tiny")]
    held_back = "held back by large, which is ahead in the queue and needs the free slots"
    assert messages(queue, [node("a", 1, of=2)]) == {
        "large": "waits for 2 free slots on one node",
        "small": held_back,
        "tiny": held_back,
    }


def test_job_names_the_one_that_holds_back_a_node_it_could_use():
    nodes = [node("a", 1, of=2), node("b", 1, of=2, labels=H100)]
    first, second = job("first", 2, age=9), job("second", 2, labels=H100, age=8)
    small = job("small", labels=H100)
    assert messages([first, second, small], nodes)["small"].startswith("held back by second,")


def test_no_node():
    assert message(job("j")) == "no node is in service: start a worker, or uncordon a node"


def test_no_node_with_the_labels():
    assert message(job("j", labels=H100), node("a", 1)) == (
        "no node in service has the label gpu=h100: ask for others, or start such a node"
    )


def test_no_node_with_the_slots():
    nodes = [node("a", 1), node("b", 4, labels=H100)]
    hint = ": ask for fewer slots, or start such a node"
    assert message(job("j", 8), *nodes) == f"no node in service has 8 slots{hint}"
    assert message(job("j", 8, labels=H100), *nodes) == (
        f"no node in service has 8 slots and the label gpu=h100{hint}"
    )


def test_too_few_nodes():
    assert message(job("j", 8, num_nodes=4), node("a", 8), node("b", 4)) == (
        "fewer than 4 nodes in service have 8 slots: ask for fewer nodes, or start more of them"
    )


def test_too_few_nodes_of_one_version():
    nodes = [node("a", 1, version="1"), node("b", 1, version="2")]
    assert message(job("j", num_nodes=2), *nodes) == (
        "fewer than 2 nodes in service with 1 slot are of the same version: "
        "install one version on all nodes"
    )
