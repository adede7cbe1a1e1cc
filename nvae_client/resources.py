"""What there is at the service, one class for each kind of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nvae_client._transport import MAX_WAIT_SECONDS, Transport, part, read
from nvae_client.files import PICTURE, Checkpoint
from nvae_client.job import Job
from nvae_client.models import Answer, ApiKey, Dataset, Node, Plan, Preset

Spec = Mapping[str, Any]


class _Resource:
    """What is asked for over one transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport


class Presets(_Resource):
    """The named configurations."""

    def list(self) -> Sequence[Preset]:
        """Return them all."""
        return read(tuple[Preset, ...], self._transport.get("/v1/presets"))


class Keys(_Resource):
    """API keys; asking for them takes one with the scope `admin`."""

    def create(
        self,
        name: str,
        *,
        scopes: Sequence[str],
        project: str | None = None,
        expires_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> ApiKey:
        """Create a key; the answer is the only one that has the key itself."""
        fields = {"project": project, "expires_at": expires_at.isoformat() if expires_at else None}
        body = {"name": name, "scopes": [*scopes]}
        body |= {field: value for field, value in fields.items() if value is not None}
        answer = self._transport.post("/v1/api-keys", body, idempotency_key=idempotency_key)
        return read(ApiKey, answer)

    def revoke(self, key_id: str) -> ApiKey:
        """Make a key useless from now on."""
        return read(ApiKey, self._transport.change("DELETE", f"/v1/api-keys/{part(key_id)}"))

    def list(self) -> Sequence[ApiKey]:
        """Return the keys, without what opens anything."""
        return read(tuple[ApiKey, ...], self._transport.get("/v1/api-keys"))


class Checkpoints(_Resource):
    """The checkpoints of the service; those of one job are `job.checkpoints()`."""

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


class _Registration(Answer):
    dataset: Dataset
    job: Job


@dataclass(frozen=True)
class Registration:
    """A new data set and the job that prepares it."""

    dataset: Dataset
    job: Job


class Datasets(_Resource):
    """The data sets of the service."""

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
        registration = read(_Registration, answer)
        return Registration(registration.dataset, registration.job.bind(self._transport))

    def get(self, name_or_id: str) -> Dataset:
        """Return one data set."""
        return read(Dataset, self._transport.get(f"/v1/datasets/{part(name_or_id)}"))

    def delete(self, name_or_id: str) -> Dataset:
        """Delete a data set; its files go soon."""
        return read(Dataset, self._transport.change("DELETE", f"/v1/datasets/{part(name_or_id)}"))

    def list(self) -> Sequence[Dataset]:
        """Return the data sets, newest first."""
        return read(tuple[Dataset, ...], self._transport.get("/v1/datasets"))


class _Page(Answer):
    jobs: tuple[Job, ...]
    next_cursor: str | None = None


@dataclass(frozen=True)
class Drawing:
    """A sample job by its id, and its picture if it was drawn in time."""

    job_id: str
    picture: bytes | None


class Jobs(_Resource):
    """The jobs of the service."""

    def submit(
        self, spec: Spec, *, idempotency_key: str | None = None, wait_seconds: int = 0
    ) -> Job:
        """Submit a job and return it.

        Args:
            spec: what to do: `kind` and its fields.
            idempotency_key: of a submission that may be repeated by another process too; the same
                key and spec return the same job.
            wait_seconds: answer when the job has ended, or after so long.

        Raises:
            ServiceError: a field is not valid; `pointers` says which.
        """
        answer = self._transport.post(
            "/v1/jobs",
            spec,
            idempotency_key=idempotency_key,
            wait_seconds=min(wait_seconds, MAX_WAIT_SECONDS),
        )
        return Job.of(self._transport, answer)

    def draw(self, spec: Spec, *, wait_seconds: int = MAX_WAIT_SECONDS) -> Drawing:
        """Submit a sample job and wait for its picture.

        Args:
            spec: of the job, without its kind.
            wait_seconds: how long; then the job comes without a picture, and goes on.
        """
        answer = self._transport.post(
            "/v1/jobs",
            {"kind": "sample", **spec},
            headers={"Accept": PICTURE},
            wait_seconds=min(wait_seconds, MAX_WAIT_SECONDS),
        )
        if answer.headers.get("Content-Type") == PICTURE:
            return Drawing(answer.headers.get("Location", "").rpartition("/")[2], answer.content)
        return Drawing(Job.of(self._transport, answer).id, None)

    def plan(self, spec: Spec) -> Plan:
        """Have a spec checked without submitting it; says what it would take."""
        return read(Plan, self._transport.post("/v1/jobs/plan", spec))

    def get(self, job_id: str) -> Job:
        """Return a job as it is now."""
        return Job.of(self._transport, self._transport.get(f"/v1/jobs/{part(job_id)}"))

    def list(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        preset: str | None = None,
        tag: str | None = None,
        parent: str | None = None,
        created_after: datetime | None = None,
        name: str | None = None,
        page_size: int = 50,
    ) -> Iterator[Job]:
        """Yield jobs, newest first, page by page as they are needed.

        Args:
            status: only those that are there.
            kind: only those of a kind.
            preset: only those that train it.
            tag: only those with a tag, as `key:value`.
            parent: only forks of a job.
            created_after: only newer ones.
            name: only those of a name.
            page_size: how many are asked for at a time.
        """
        parameters = {
            "status": status,
            "kind": kind,
            "preset": preset,
            "tag": tag,
            "parent": parent,
            "created_after": created_after.isoformat() if created_after else None,
            "name": name,
            "limit": page_size,
        }
        cursor: str | None = None
        while True:
            answer = self._transport.get("/v1/jobs", parameters={**parameters, "cursor": cursor})
            page = read(_Page, answer)
            for job in page.jobs:
                yield job.bind(self._transport)
            if page.next_cursor is None:
                return
            cursor = page.next_cursor


class Nodes(_Resource):
    """The machines that run jobs."""

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
        return read(tuple[Node, ...], self._transport.get("/v1/nodes"))

    def _post(self, node_id: str, verb: str) -> Node:
        return read(Node, self._transport.post(f"/v1/nodes/{part(node_id)}/{verb}"))
