"""Which queued job goes to which nodes: a pure function of the queue and the free slots."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.domain.cluster import (
    Candidates,
    Cluster,
    Demand,
    NodeShare,
    NodeSlots,
    QueuedJob,
    SlotLedger,
    demand_of,
)


@dataclass(frozen=True)
class Placement:
    """The job runs on these nodes; the first is that of rank 0."""

    job_id: str
    shares: tuple[NodeShare, ...]


@dataclass(frozen=True)
class Wait:
    """The job was not placed, for this reason; the same words as long as the reason is the same."""

    job_id: str
    message: str


@dataclass(frozen=True)
class Decisions:
    """Every queued job once, in the order of the queue."""

    placements: list[Placement]
    waits: list[Wait]


def place(jobs: Iterable[QueuedJob], nodes: Sequence[NodeSlots]) -> Decisions:
    """Place as many jobs as fit, highest priority first, then oldest.

    A job gets slots on all its nodes or none, on those with the fewest free slots that suffice,
    so that whole nodes stay free. A job that has to wait reserves the nodes on which it can be
    placed soonest: jobs behind it do not take slots there that it needs. Short jobs may, as long
    as it waits for training there anyway.

    Args:
        jobs: the queue, in any order.
        nodes: those that may get jobs.
    """
    this_round = _Round(sorted(nodes, key=lambda node: node.id))
    decisions = Decisions([], [])
    for job in sorted(jobs, key=_place_in_queue):
        decision = this_round.decide(job)
        if isinstance(decision, str):
            decisions.waits.append(Wait(job.id, decision))
        else:
            decisions.placements.append(Placement(job.id, decision))
    return decisions


def _place_in_queue(job: QueuedJob) -> tuple[int, datetime, str]:
    return -job.priority, job.created_at, job.id


class _Round:
    def __init__(self, nodes: Sequence[NodeSlots]) -> None:
        self._cluster = Cluster(nodes)
        self._ledger = SlotLedger(nodes)
        self._candidates: dict[Demand, Candidates] = {}
        self._messages: dict[Demand, str] = {}  # of demands that cannot be met in this round

    def decide(self, job: QueuedJob) -> tuple[NodeShare, ...] | str:
        """Return the job's slots, or why it gets none."""
        demand = demand_of(job)
        candidates = self._candidates.get(demand)
        if candidates is None:
            candidates = self._candidates[demand] = self._cluster.candidates(demand)
        if demand not in self._messages:
            if nodes := self._ledger.find_nodes(demand, candidates.groups):
                return self._ledger.take(nodes, demand)
            self._messages[demand] = self._explain(demand, candidates)
        if candidates.groups:
            self._ledger.reserve(job.id, demand, candidates.groups)
        return self._messages[demand]

    def _explain(self, demand: Demand, candidates: Candidates) -> str:
        if not candidates.groups:
            return never_fits(demand, self._cluster)
        if holder := self._ledger.find_holder(demand, candidates.groups):
            return held_back_by(holder)
        return waits_for(demand, candidates)


def waits_for(demand: Demand, candidates: Candidates) -> str:
    """Say what has to become free."""
    labels = _name_labels(demand)
    if demand.num_nodes == 1:
        where = f" on one node with {labels}" if labels else " on one node"
        message = f"waits for {_count_slots(demand.num_slots, 'free slot')}{where}"
    else:
        versions = " of one version" if candidates.mixed_versions else ""
        slots = _count_slots(demand.num_slots, "free slot")
        has = f"{slots} each and {labels}" if labels else f"{slots} each"
        message = f"waits for {demand.num_nodes} nodes{versions} with {has}"
    return f"{message}, other than those it failed on" if candidates.avoids else message


def held_back_by(job_id: str) -> str:
    """Say that there are free slots, and who is to get them."""
    return f"held back by {job_id}, which is ahead in the queue and needs the free slots"


def never_fits(demand: Demand, cluster: Cluster) -> str:
    """Say why the nodes there are can never run the job, and what would help."""
    labels = _name_labels(demand)
    slots = _count_slots(demand.num_slots, "slot")
    has = f"{slots} and {labels}" if labels else slots
    if not cluster.all:
        return "no node is in service: start a worker, or uncordon a node"
    if not cluster.labelled(demand):
        return f"no node in service has {labels}: ask for others, or start such a node"
    suitable = cluster.suitable(demand).bit_count()
    if not suitable:
        return f"no node in service has {has}: ask for fewer slots, or start such a node"
    if suitable < demand.num_nodes:
        nodes = f"fewer than {demand.num_nodes} nodes in service have {has}"
        return f"{nodes}: ask for fewer nodes, or start more of them"
    nodes = f"fewer than {demand.num_nodes} nodes in service with {has} are of the same version"
    return f"{nodes}: install one version on all nodes"


def _count_slots(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _name_labels(demand: Demand) -> str:
    words = ", ".join(f"{name}={value}" for name, value in sorted(demand.labels))
    return f"the label{'s' * (len(demand.labels) > 1)} {words}" if words else ""
