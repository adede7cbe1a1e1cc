"""Nodes as JSON."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel

from services.adapters.postgres.nodes import PROTOCOL
from services.adapters.postgres.tables import Node


class NodeResource(BaseModel):
    """A machine that runs jobs."""

    id: str
    name: str
    alive: bool
    cordoned: bool
    address: str
    labels: dict[str, str]
    memory_bytes: int | None
    slot_kind: str
    num_slots: int
    num_free_slots: int
    version: str
    usable: bool  # its worker and this service understand each other
    lease_expires_at: datetime

    @classmethod
    def of(cls, node: Node, *, num_free_slots: int, now: datetime) -> Self:
        """Return the resource of a stored node."""
        return cls(
            id=node.id,
            name=node.name,
            alive=node.lease_expires_at > now,
            cordoned=node.cordoned,
            address=node.address,
            labels=node.labels,
            memory_bytes=node.memory_bytes,
            slot_kind=node.slot_kind,
            num_slots=node.num_slots,
            num_free_slots=num_free_slots,
            version=node.version,
            usable=node.protocol == PROTOCOL,
            lease_expires_at=node.lease_expires_at,
        )
