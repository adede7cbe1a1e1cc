"""The nodes during one round of placement: which suit a job, which slots are free or reserved."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

NodeSet = int


@dataclass(frozen=True)
class QueuedJob:
    """What placement needs to know of a job."""

    id: str
    num_slots: int  # on each node
    priority: int
    created_at: datetime
    num_nodes: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)  # that its nodes must have
    avoided: frozenset[str] = frozenset()  # ids of the nodes that failed it
    is_short: bool = False  # it takes minutes; training may take weeks, an evaluation hours


@dataclass(frozen=True)
class NodeSlots:
    """A node that may get jobs: the indices of its free slots, and how many it has in all."""

    id: str
    free: tuple[int, ...]
    num_slots: int
    labels: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    soon_free: int = 0  # slots that short jobs hold


@dataclass(frozen=True)
class NodeShare:
    """The slots that a job gets on one node."""

    node_id: str
    slots: tuple[int, ...]


def node_set(nodes: Iterable[int]) -> NodeSet:
    """Return the set of these nodes."""
    bits = 0
    for node in nodes:
        bits |= 1 << node
    return bits


def first_nodes(sets: Iterable[NodeSet], count: int) -> list[int]:
    """Return the first nodes of the first sets: as many as asked for, or all there are."""
    taken: list[int] = []
    for nodes in sets:
        while nodes:
            lowest = nodes & -nodes
            taken.append(lowest.bit_length() - 1)
            if len(taken) == count:
                return taken
            nodes ^= lowest  # noqa: PLW2901 - the rest of the same set
    return taken


class NodesByCount:
    """A number of slots of each node, and the nodes of each number."""

    def __init__(self, counts: Sequence[int], *, highest: int) -> None:
        self.counts = list(counts)
        self._sets = [0] * (highest + 1)
        for node, count in enumerate(counts):
            self._sets[count] |= 1 << node

    def put(self, node: int, count: int) -> None:
        """Set the node's number."""
        before = self.counts[node]
        if count != before:
            self.counts[node] = count
            self._sets[before] ^= 1 << node
            self._sets[count] |= 1 << node

    def at_least(self, count: int) -> NodeSet:
        """Return the nodes with this number or more."""
        union = 0
        for nodes in self._sets[count:]:
            union |= nodes
        return union

    def fewest_first(self, among: NodeSet, *, at_least: int) -> Iterator[NodeSet]:
        """Yield the nodes with this number or more, by number upwards."""
        for nodes in self._sets[at_least:]:
            yield nodes & among

    def most_first(self, among: NodeSet, *, enough: int) -> Iterator[NodeSet]:
        """Yield all nodes, by number downwards; above what is enough all are equal."""
        yield self.at_least(enough) & among
        for nodes in self._sets[enough - 1 :: -1]:
            yield nodes & among


@dataclass(frozen=True)
class Demand:
    """All that tells one job from another while its place in the queue is left out."""

    num_slots: int
    num_nodes: int
    labels: frozenset[tuple[str, str]]
    avoided: frozenset[str]
    is_short: bool


def demand_of(job: QueuedJob) -> Demand:
    """Return what the job asks for."""
    labels = frozenset(job.labels.items())
    return Demand(job.num_slots, job.num_nodes, labels, job.avoided, job.is_short)


@dataclass(frozen=True)
class Candidates:
    """The nodes a demand could be met on if all slots were free."""

    groups: tuple[NodeSet, ...]  # of one version each, with nodes enough; empty: never
    avoids: bool = False  # nodes that would do were left out
    mixed_versions: bool = False  # nodes that would do are of several versions


class Cluster:
    """What does not change in a round: which nodes there are, and what they are."""

    def __init__(self, nodes: Sequence[NodeSlots]) -> None:
        self.all = node_set(range(len(nodes)))
        sizes = [node.num_slots for node in nodes]
        self._sizes = NodesByCount(sizes, highest=max(sizes, default=0))
        self._numbers = {node.id: number for number, node in enumerate(nodes)}
        labels: dict[tuple[str, str], NodeSet] = defaultdict(int)
        versions: dict[str, NodeSet] = defaultdict(int)
        for number, node in enumerate(nodes):
            versions[node.version] |= 1 << number
            for label in node.labels.items():
                labels[label] |= 1 << number
        self._labels = dict(labels)
        self._versions = tuple(versions[version] for version in sorted(versions))

    def labelled(self, demand: Demand) -> NodeSet:
        """Return the nodes that have the labels."""
        nodes = self.all
        for label in demand.labels:
            nodes &= self._labels.get(label, 0)
        return nodes

    def suitable(self, demand: Demand) -> NodeSet:
        """Return the nodes that have the labels and the slots, free or not."""
        return self.labelled(demand) & self._sizes.at_least(demand.num_slots)

    def candidates(self, demand: Demand) -> Candidates:
        """Return where the job could run; a node is not avoided if there is no way without it."""
        suitable = self.suitable(demand)
        avoided = node_set(
            self._numbers[node_id] for node_id in demand.avoided if node_id in self._numbers
        )
        for nodes in (suitable & ~avoided, suitable):
            if groups := self._groups(nodes, demand.num_nodes):
                mixed_versions = sum(1 for version in self._versions if version & nodes) > 1
                return Candidates(groups, nodes != suitable, mixed_versions)
        return Candidates(())

    def _groups(self, nodes: NodeSet, num_nodes: int) -> tuple[NodeSet, ...]:
        """Return the sets within which any nodes can work together."""
        if num_nodes == 1:
            return (nodes,) if nodes else ()
        groups = (nodes & version for version in self._versions)
        return tuple(group for group in groups if group.bit_count() >= num_nodes)


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
        plans = [first_nodes(self._soonest(demand, group), demand.num_nodes) for group in groups]
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
        return first_nodes(
            by_count.fewest_first(group, at_least=demand.num_slots), demand.num_nodes
        )

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
