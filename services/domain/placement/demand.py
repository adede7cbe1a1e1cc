"""What a job asks of its nodes, and which nodes could ever give it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from services.domain.placement.decisions import NodeSlots, QueuedJob
from services.domain.placement.node_sets import NodesByCount, NodeSet, node_set


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
