"""What placement is told, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class QueuedJob:
    """What placement needs to know of a job."""

    id: str
    num_slots: int  # on each node
    priority: int
    created_at: datetime
    num_nodes: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)  # that its nodes must have
    avoided: frozenset[str] = frozenset()  # ids of the nodes on which it failed twice
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
