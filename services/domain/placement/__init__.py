"""Which queued job goes to which nodes: a pure function of the queue and the free slots."""

from services.domain.placement.decisions import (
    Decisions,
    NodeShare,
    NodeSlots,
    Placement,
    QueuedJob,
    Wait,
)
from services.domain.placement.placing import place

__all__ = ["Decisions", "NodeShare", "NodeSlots", "Placement", "QueuedJob", "Wait", "place"]
