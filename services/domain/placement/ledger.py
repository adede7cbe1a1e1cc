"""The slots of all nodes during one round of placement: free, taken, and reserved."""

from collections.abc import Iterator, Sequence

from services.domain.placement.decisions import NodeShare, NodeSlots
from services.domain.placement.demand import Demand
from services.domain.placement.node_sets import NodesByCount, NodeSet, node_set, take


class SlotLedger:
    """Who has which slots, indexed so that the nodes for a job are found without a search.

    Jobs that wait reserve slots of a node one after the other, those of the first first. A number
    of slots that is about reservations only shrinks in a round: a job that finds no nodes shows
    that all later ones with the same demand will find none.
    """

    def __init__(self, nodes: Sequence[NodeSlots]) -> None:
        self._ids = [node.id for node in nodes]
        self._slots = [tuple(sorted(node.free)) for node in nodes]
        self._held_shortly = [node.soon_free for node in nodes]
        self._reserved = [0] * len(nodes)
        self._reserved_in_reach = [0] * len(nodes)  # by jobs that wait for short ones only
        self._reservations: list[tuple[str, NodeSet]] = []
        free = [len(node.free) for node in nodes]
        soon = [len(node.free) + node.soon_free for node in nodes]
        highest = max(soon, default=0)
        self._free = NodesByCount(free, highest=highest)
        self._spare = NodesByCount(free, highest=highest)  # free and not reserved
        self._open_to_short = NodesByCount(free, highest=highest)
        self._soon_spare = NodesByCount(soon, highest=highest)  # once the short jobs have ended

    def find_nodes(self, demand: Demand, groups: Sequence[NodeSet]) -> list[int]:
        """Return the nodes of one group with the fewest slots that suffice, or none.

        What is not reserved goes first; a short job may pass on reserved slots after that.
        """
        for by_count in self._usable(demand):
            fits = [self._best_fit(by_count, demand, group) for group in groups]
            if fits := [fit for fit in fits if len(fit) == demand.num_nodes]:
                return min(fits, key=lambda fit: sum(by_count.counts[node] for node in fit))
        return []

    def take(self, nodes: Sequence[int], demand: Demand) -> tuple[NodeShare, ...]:
        """Give the slots away."""
        shares = []
        for node in nodes:
            slots = self._slots[node]
            shares.append(NodeShare(self._ids[node], slots[: demand.num_slots]))
            self._slots[node] = slots[demand.num_slots :]
            if demand.is_short:
                self._held_shortly[node] += demand.num_slots
            self._update(node)
        return tuple(shares)

    def reserve(self, job_id: str, demand: Demand, groups: Sequence[NodeSet]) -> None:
        """Reserve the nodes of the group on which the job can be placed soonest.

        Nothing is known of when training ends: soonest is where it has to give back the fewest
        slots, and then where the fewest are missing at all. Reserving on a node whose slots are
        all reserved, those of short jobs too, would change nothing.
        """
        useful = self._soon_spare.at_least(1)
        if not any(group & useful for group in groups):
            return
        plans = [take(self._soonest(demand, group), demand.num_nodes) for group in groups]
        nodes = min(plans, key=lambda plan: self._num_missing(demand, plan))
        nodes = [node for node in nodes if useful >> node & 1]
        for node in nodes:
            self._reserved[node] += demand.num_slots
            if demand.num_slots <= self._soon_spare.counts[node]:
                self._reserved_in_reach[node] = self._reserved[node]
            self._update(node)
        if nodes:
            self._reservations.append((job_id, node_set(nodes)))

    def find_holder(self, demand: Demand, groups: Sequence[NodeSet]) -> str | None:
        """Return the first job whose reservation keeps free slots from a demand, if any does."""
        *_, usable = self._usable(demand)
        for group in groups:
            free = group & self._free.at_least(demand.num_slots)
            if free.bit_count() >= demand.num_nodes:
                withheld = free & ~usable.at_least(demand.num_slots)
                return next(job_id for job_id, nodes in self._reservations if nodes & withheld)
        return None

    def _usable(self, demand: Demand) -> tuple[NodesByCount, ...]:
        return (self._spare, self._open_to_short) if demand.is_short else (self._spare,)

    def _best_fit(self, by_count: NodesByCount, demand: Demand, group: NodeSet) -> list[int]:
        return take(by_count.fewest_first(group, at_least=demand.num_slots), demand.num_nodes)

    def _soonest(self, demand: Demand, group: NodeSet) -> Iterator[NodeSet]:
        for nodes in self._soon_spare.most_first(group, enough=demand.num_slots):
            if nodes:
                yield from self._spare.most_first(nodes, enough=demand.num_slots)

    def _num_missing(self, demand: Demand, nodes: Sequence[int]) -> tuple[int, int]:
        return (
            sum(max(0, demand.num_slots - self._soon_spare.counts[node]) for node in nodes),
            sum(max(0, demand.num_slots - self._spare.counts[node]) for node in nodes),
        )

    def _update(self, node: int) -> None:
        free = len(self._slots[node])
        reserved = self._reserved[node]
        self._free.put(node, free)
        self._spare.put(node, max(0, free - reserved))
        self._open_to_short.put(node, max(0, free - self._reserved_in_reach[node]))
        self._soon_spare.put(node, max(0, free + self._held_shortly[node] - reserved))
