"""Nodes: look, close for new jobs, empty."""

from collections.abc import Sequence

from pydantic import TypeAdapter

from nvae_client.answers import Node
from nvae_client.transport import Transport, part, read

_NODES = TypeAdapter(tuple[Node, ...])


class Nodes:
    """The machines that run jobs."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def cordon(self, node_id: str) -> Node:
        """Give the node no new jobs; those that it has go on."""
        return self._post(node_id, "cordon")

    def uncordon(self, node_id: str) -> Node:
        """Give the node jobs again."""
        return self._post(node_id, "uncordon")

    def drain(self, node_id: str) -> Node:
        """Cordon the node and move its jobs, each after a checkpoint."""
        return self._post(node_id, "drain")

    def list(self) -> Sequence[Node]:
        """Return the nodes, and how many of their slots are free."""
        return read(_NODES, self._transport.get("/v1/nodes"))

    def _post(self, node_id: str, verb: str) -> Node:
        return read(Node, self._transport.post(f"/v1/nodes/{part(node_id)}/{verb}"))
