"""One round of placement: every queued job is placed, or told why it waits."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from services.domain.placement.decisions import (
    Decisions,
    NodeShare,
    NodeSlots,
    Placement,
    QueuedJob,
    Wait,
)
from services.domain.placement.demand import Candidates, Cluster, Demand, demand_of
from services.domain.placement.ledger import SlotLedger
from services.domain.placement.messages import held_back_by, never_fits, waits_for


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
