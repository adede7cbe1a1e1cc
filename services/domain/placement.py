"""Which queued job goes to which node: a pure function of the queue and the free slots."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class QueuedJob:
    """What placement needs to know of a job."""

    id: str
    num_slots: int
    priority: int
    created_at: datetime


@dataclass(frozen=True)
class NodeSlots:
    """A live node: the indices of its free slots, and how many it has in all."""

    id: str
    free: tuple[int, ...]
    num_slots: int


@dataclass(frozen=True)
class Placement:
    """The job runs on these slots of this node."""

    job_id: str
    node_id: str
    slots: tuple[int, ...]


def place(jobs: Iterable[QueuedJob], nodes: Sequence[NodeSlots]) -> list[Placement]:
    """Place as many jobs as fit, highest priority first, then oldest.

    Best fit: the node with the fewest free slots that suffice, so that large gaps stay whole.
    A job that has to wait holds back the node that it will fit on soonest, so that smaller jobs
    behind it cannot starve it.
    """
    free = {node.id: node.free for node in nodes}
    sizes = {node.id: node.num_slots for node in nodes}
    placements = []
    for job in sorted(jobs, key=lambda job: (-job.priority, job.created_at, job.id)):
        fitting = [node_id for node_id, slots in free.items() if len(slots) >= job.num_slots]
        if fitting:
            node_id = min(fitting, key=lambda node_id: (len(free[node_id]), node_id))
            taken = free[node_id][: job.num_slots]
            free[node_id] = free[node_id][job.num_slots :]
            placements.append(Placement(job.id, node_id, taken))
            continue
        possible = [node_id for node_id in free if sizes[node_id] >= job.num_slots]
        if possible:
            del free[max(possible, key=lambda node_id: (len(free[node_id]), node_id))]
    return placements
