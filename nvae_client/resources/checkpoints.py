"""Checkpoints, whatever job they are of."""

from nvae_client.files import Checkpoint
from nvae_client.transport import Transport, part


class Checkpoints:
    """The checkpoints of the service; those of one job are `job.checkpoints()`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, checkpoint_id: str) -> Checkpoint:
        """Return one checkpoint, also after it was deleted."""
        answer = self._transport.get(f"/v1/checkpoints/{part(checkpoint_id)}")
        return Checkpoint.of(self._transport, answer)
