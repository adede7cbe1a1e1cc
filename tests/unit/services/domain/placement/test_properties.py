"""What holds of placement whatever the queue and the nodes."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from plain_placement import Books, groups_for, place_plainly
from queues import in_order, jobs, nodes, placed

from services.domain.placement import place


def fits_now(job, cluster):
    groups = groups_for(job, [Books(node, len(node.free), 0) for node in cluster])
    return any(
        sum(books.free >= job.num_slots for books in group) >= job.num_nodes for group in groups
    )


def could_fit(job, cluster):
    return bool(groups_for(job, [Books(node, 0, 0) for node in cluster]))


@given(jobs(), nodes())
def test_answer_is_that_of_the_plain_search(queue, cluster):
    assert placed(place(queue, cluster)) == place_plainly(in_order(queue), cluster)


@given(jobs(), nodes(), st.randoms())
def test_order_of_the_input_does_not_matter(queue, cluster, random):
    decisions = place(queue, cluster)
    random.shuffle(queue)
    random.shuffle(cluster)
    shuffled = [
        replace(node, free=tuple(random.sample(node.free, len(node.free)))) for node in cluster
    ]
    assert place(queue, shuffled) == decisions


@given(jobs(), nodes())
def test_every_job_is_either_placed_or_told_why_not(queue, cluster):
    decisions = place(queue, cluster)
    answered = [*decisions.placements, *decisions.waits]
    assert Counter(answer.job_id for answer in answered) == Counter(job.id for job in queue)
    assert all(wait.message for wait in decisions.waits)


@given(jobs(), nodes())
def test_slots_are_given_once_and_only_if_free(queue, cluster):
    taken = [
        (share.node_id, slot)
        for placement in place(queue, cluster).placements
        for share in placement.shares
        for slot in share.slots
    ]
    free = Counter((node.id, slot) for node in cluster for slot in node.free)
    assert Counter(taken) <= free


@given(jobs(), nodes())
def test_placed_job_gets_what_it_asked_for(queue, cluster):
    asked, given_nodes = {job.id: job for job in queue}, {node.id: node for node in cluster}
    for placement in place(queue, cluster).placements:
        job = asked[placement.job_id]
        used = [given_nodes[share.node_id] for share in placement.shares]
        assert len({node.id for node in used}) == len(used) == job.num_nodes
        assert all(len(share.slots) == job.num_slots for share in placement.shares)
        assert all(job.labels.items() <= node.labels.items() for node in used)
        assert len({node.version for node in used}) == 1


@given(jobs(), nodes())
def test_first_job_is_placed_whenever_it_fits(queue, cluster):
    first = in_order(queue)[:1]
    expected = [job.id for job in first if fits_now(job, cluster)]
    assert list(placed(place(queue, cluster)))[:1] == expected or not expected
    assert list(placed(place(first, cluster))) == expected


@given(jobs(), nodes())
def test_jobs_behind_change_nothing_for_those_ahead(queue, cluster):
    decisions = place(queue, cluster)
    ordered = in_order(queue)
    ahead = ordered[: len(ordered) // 2]
    ids = {job.id for job in ahead}
    first = place(ahead, cluster)
    assert first.placements == [p for p in decisions.placements if p.job_id in ids]
    assert first.waits == [wait for wait in decisions.waits if wait.job_id in ids]


@given(jobs(), nodes())
def test_each_waiting_job_keeps_nodes_on_which_no_long_one_behind_it_is_in_its_way(queue, cluster):
    decisions = place(queue, cluster)
    ordered = in_order(queue)
    left = {node.id: len(node.free) for node in cluster}
    for placement in decisions.placements:
        for share in placement.shares:
            left[share.node_id] -= len(share.slots)
    used = placed(decisions)
    for position, job in enumerate(ordered):
        if job.id in used or not could_fit(job, cluster):
            continue
        behind = [other for other in ordered[position:] if not other.is_short]
        touched = {node_id for other in behind for node_id in used.get(other.id, ())}
        groups = groups_for(job, [Books(node, 0, 0) for node in cluster])
        assert any(
            sum(b.id not in touched or left[b.id] >= job.num_slots for b in group) >= job.num_nodes
            for group in groups
        )
