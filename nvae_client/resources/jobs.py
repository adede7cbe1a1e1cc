"""Jobs: submit, plan, find."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from nvae_client.answers import Answer
from nvae_client.files import PICTURE
from nvae_client.job import Job
from nvae_client.plans import Plan
from nvae_client.transport import MAX_WAIT_SECONDS, Transport, part, read

Spec = Mapping[str, Any]


class _Page(Answer):
    jobs: tuple[Job, ...]
    next_cursor: str | None = None


_PAGE = TypeAdapter(_Page)


@dataclass(frozen=True)
class Drawing:
    """A sample job by its id, and its picture if it was drawn in time."""

    job_id: str
    picture: bytes | None


class Jobs:
    """The jobs of the service."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

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
            page = read(_PAGE, answer)
            for job in page.jobs:
                yield job.bind(self._transport)
            if page.next_cursor is None:
                return
            cursor = page.next_cursor
