"""Data sets: register a source, see whether it is ready."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from nvae_client.answers import Answer, Dataset
from nvae_client.job import Job
from nvae_client.transport import Transport, part, read


class _Registration(Answer):
    dataset: Dataset
    job: Job


_DATASETS = TypeAdapter(tuple[Dataset, ...])


@dataclass(frozen=True)
class Registration:
    """A new data set and the job that prepares it."""

    dataset: Dataset
    job: Job


class Datasets:
    """The data sets of the service."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def register(
        self,
        name: str,
        source: Mapping[str, Any],
        *,
        seed: int | None = None,
        idempotency_key: str | None = None,
    ) -> Registration:
        """Register a source of images; a job prepares it.

        Args:
            name: of the data set.
            source: where its images are: `kind` and its fields.
            seed: of what is drawn, as of the split into training and test images.
            idempotency_key: see `Jobs.submit`.
        """
        body = {"name": name, "source": source} | ({} if seed is None else {"seed": seed})
        answer = self._transport.post("/v1/datasets", body, idempotency_key=idempotency_key)
        found = read(_Registration, answer)
        return Registration(found.dataset, found.job.bind(self._transport))

    def get(self, name_or_id: str) -> Dataset:
        """Return one data set."""
        return read(Dataset, self._transport.get(f"/v1/datasets/{part(name_or_id)}"))

    def delete(self, name_or_id: str) -> Dataset:
        """Delete a data set; its files go soon."""
        return read(Dataset, self._transport.change("DELETE", f"/v1/datasets/{part(name_or_id)}"))

    def list(self) -> Sequence[Dataset]:
        """Return the data sets, newest first."""
        return read(_DATASETS, self._transport.get("/v1/datasets"))
