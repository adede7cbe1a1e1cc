"""Sets of nodes as bits of one integer, so that a question about all nodes takes few operations.

Bit i stands for node i in the order of ids: what takes nodes from the lowest bit is deterministic.
"""

from collections.abc import Iterable, Iterator, Sequence

NodeSet = int


def node_set(nodes: Iterable[int]) -> NodeSet:
    """Return the set of these nodes."""
    bits = 0
    for node in nodes:
        bits |= 1 << node
    return bits


def take(sets: Iterable[NodeSet], count: int) -> list[int]:
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
