"""Rounds of placement one after the other, with jobs that end and jobs that arrive between them."""

from dataclasses import dataclass, field, replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from plain_placement import Books, groups_for, total
from queues import START, in_order, jobs, nodes

from services.domain.cluster import NodeSlots, QueuedJob
from services.domain.placement import place


@dataclass
class Running:
    """An attempt, and the slots it holds of each node."""

    is_short: bool
    held: dict[str, tuple[int, ...]]


@dataclass
class Service:
    """Nodes, the attempts on them and a queue, which time changes by rounds, ends and arrivals."""

    empty: list[NodeSlots]
    queue: list[QueuedJob]
    running: list[Running] = field(default_factory=list)

    def nodes(self):
        return [self._as_it_is(node) for node in self.empty]

    def tick(self):
        by_id = {job.id: job for job in self.queue}
        for placement in place(self.queue, self.nodes()).placements:
            job = by_id.pop(placement.job_id)
            held = {share.node_id: share.slots for share in placement.shares}
            self.running.append(Running(job.is_short, held))
        self.queue = in_order(by_id.values())

    def first_that_can_fit(self):
        cluster = [Books(node, 0, 0) for node in self.empty]
        return next((job for job in self.queue if groups_for(job, cluster)), None)

    def _as_it_is(self, node):
        held = [(attempt.is_short, attempt.held.get(node.id, ())) for attempt in self.running]
        taken = {slot for _, slots in held for slot in slots}
        free = tuple(slot for slot in range(node.num_slots) if slot not in taken)
        soon_free = sum(len(slots) for is_short, slots in held if is_short)
        return NodeSlots(node.id, free, node.num_slots, node.labels, node.version, soon_free)


def distance(job, cluster):
    """Return how many slots training, and then how many short jobs, have to give back for it."""
    groups = groups_for(job, [Books(node, len(node.free), node.soon_free) for node in cluster])

    def missing(books):
        after_short = max(0, job.num_slots - books.free - books.soon_free)
        return after_short, max(0, job.num_slots - books.free)

    plans = [sorted(map(missing, group))[: job.num_nodes] for group in groups]
    of_training, of_any = min(map(total, plans))
    return of_training, 0 if of_training else of_any


def start(cluster, queue, draw):
    """Return a service with old training and short jobs of one slot each."""
    service = Service(cluster, in_order(queue))
    for node in cluster:
        for slot in range(draw(st.integers(0, node.num_slots))):
            service.running.append(Running(draw(st.booleans()), {node.id: (slot,)}))
    return service


@given(nodes(), jobs(), jobs(), st.data())
def test_first_waiting_job_only_ever_comes_nearer(cluster, queue, arrivals, data):
    service = start(cluster, queue, data.draw)
    service.tick()
    late = [
        replace(job, id=f"late{number}", priority=0, created_at=START + timedelta(seconds=number))
        for number, job in enumerate(arrivals)
    ]
    while service.running or late:
        first = service.first_that_can_fit()
        before = distance(first, service.nodes()) if first else None
        if service.running:
            service.running.pop(data.draw(st.integers(0, len(service.running) - 1)))
        service.queue += late[:1]
        late = late[1:]
        service.tick()
        if first in service.queue:
            assert distance(first, service.nodes()) <= before
    assert not service.first_that_can_fit()
