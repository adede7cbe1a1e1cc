"""Checkpoints, whatever job they are of."""

from nvae_client.files import Checkpoint
from nvae_client.job import Job
from nvae_client.transport import Transport, part


class Checkpoints:
    """The checkpoints of the service; those of one job are `job.checkpoints()`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, checkpoint_id: str) -> Checkpoint:
        """Return one checkpoint, also after it was deleted."""
        answer = self._transport.get(f"/v1/checkpoints/{part(checkpoint_id)}")
        return Checkpoint.of(self._transport, answer)

    def import_from(
        self, kind: str, path: str, *, name: str | None = None, idempotency_key: str | None = None
    ) -> Job:
        """Have a checkpoint from elsewhere imported; returns the job, which leaves it.

        Args:
            kind: `published` for a file of the published NVAE code, or `folder` for a checkpoint
                of this service, as it was downloaded.
            path: below the nodes' folder of sources, or `s3://bucket/prefix`.
            name: of the job.
            idempotency_key: see `Jobs.submit`.
        """
        body = {"name": name, "source": {"kind": kind, "path": path}}
        answer = self._transport.post("/v1/checkpoints", body, idempotency_key=idempotency_key)
        return Job.of(self._transport, answer)
