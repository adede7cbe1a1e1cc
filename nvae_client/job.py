"""A job as it was when it was asked for, and everything that can be asked of it."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Unpack

from pydantic import TypeAdapter

from nvae_client import _job_streams
from nvae_client._job_streams import (
    ENDED,
    LogChoice,
    list_events,
    read_log,
    stream_events,
    stream_log,
)
from nvae_client._transport import read
from nvae_client.errors import NvaeError
from nvae_client.files import PICTURE, Artifact, Checkpoint
from nvae_client.models import Attempt, Bound, Columns, Event, LogText, Progress, fetch_metrics

SUCCEEDED = "succeeded"
_ARTIFACTS = TypeAdapter(tuple[Artifact, ...])
_CHECKPOINTS = TypeAdapter(tuple[Checkpoint, ...])
_ATTEMPTS = TypeAdapter(tuple[Attempt, ...])


class JobFailed(NvaeError):
    """A job ended otherwise than by succeeding; `job` is how it ended."""

    def __init__(self, job: "Job") -> None:
        super().__init__(f"job {job.id} {job.status} ({job.reason}): {job.message}")
        self.job = job


class Job(Bound):
    """A job: where it is (status), why (reason, message), how far, and what can be asked of it."""

    id: str
    kind: str
    name: str | None = None
    status: str
    reason: str | None = None
    message: str | None = None
    spec: dict[str, Any]
    tags: dict[str, str] = {}
    priority: int
    queue_position: int | None = None
    num_nodes: int
    num_slots: int
    parent_id: str | None = None
    progress: Progress
    latest_metrics: dict[str, Any] | None = None
    num_parameters: int | None = None
    result: dict[str, Any] | None = None
    num_attempts: int
    max_run_seconds: float | None = None
    run_seconds: float = 0.0
    dataset_id: str | None = None
    checkpoint_id: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it will not change any more."""
        return self.status in ENDED

    @property
    def _path(self) -> str:
        return f"/v1/jobs/{self.id}"

    def refresh(self) -> "Job":
        """Return the job as it is now."""
        return Job.of(self._transport, self._transport.get(self._path))

    def changes(
        self, *, look_seconds: float = 20.0, patience_seconds: float | None = None
    ) -> Iterator["Job"]:
        """Yield the job as it is now and whenever it has changed, until it has ended.

        Args:
            look_seconds: how long one request waits for a change.
            patience_seconds: for how long the service may be away; None is as for other requests.
        """
        answers = _job_streams.changes(
            self._transport, self._path, look_seconds=look_seconds, limit_seconds=patience_seconds
        )
        for answer in answers:
            yield Job.of(self._transport, answer)

    def wait(
        self,
        *,
        on_change: Callable[["Job"], None] = lambda job: None,
        timeout_seconds: float | None = None,
        look_seconds: float = 20.0,
        patience_seconds: float | None = None,
    ) -> "Job":
        """Return the job once it has succeeded.

        Args:
            on_change: called with the job as it is now and whenever it has changed.
            timeout_seconds: how long to wait, None for as long as it takes.
            look_seconds: how long one request waits for a change.
            patience_seconds: for how long the service may be away; None is as for other requests.

        Raises:
            JobFailed: it ended otherwise.
            TimeoutError: it goes on.
        """
        answers = _job_streams.changes(
            self._transport,
            self._path,
            look_seconds=look_seconds,
            limit_seconds=patience_seconds,
            timeout_seconds=timeout_seconds,
        )
        job = self
        for answer in answers:
            job = Job.of(self._transport, answer)
            on_change(job)
        if job.status != SUCCEEDED:
            raise JobFailed(job)
        return job

    def events(self, *, after: int = 0, follow: bool = True) -> Iterator[Event]:
        """Yield what happened from event `after` + 1 on, and what happens until the job ends."""
        if not follow:
            return iter(list_events(self._transport, self._path, after))
        return stream_events(self._transport, self._path, after, self._is_over)

    def logs(self, *, follow: bool = False, **choice: Unpack[LogChoice]) -> Iterator[LogText]:
        """Yield the last lines of one rank's log, and what it writes until the job ends."""
        if not follow:
            return iter([read_log(self._transport, self._path, choice)])
        return stream_log(self._transport, self._path, choice, self._is_over)

    def metrics(
        self,
        *,
        names: Sequence[str] = (),
        from_step: int | None = None,
        to_step: int | None = None,
        max_points: int | None = None,
    ) -> dict[str, Columns]:
        """Return the job's metrics: name to columns `step` and `value`; see `fetch_metrics`."""
        return fetch_metrics(
            self._transport,
            self.id,
            names=names,
            from_step=from_step,
            to_step=to_step,
            max_points=max_points,
        )

    def attempts(self) -> Sequence[Attempt]:
        """Return the executions of the job, oldest first."""
        return read(_ATTEMPTS, self._transport.get(f"{self._path}/attempts"))

    def artifacts(self) -> Sequence[Artifact]:
        """Return the files that the job made."""
        artifacts = read(_ARTIFACTS, self._transport.get(f"{self._path}/artifacts"))
        return [artifact.of_job(self._transport, self.id) for artifact in artifacts]

    def pictures(self) -> Sequence[Artifact]:
        """Return those of its files that are pictures."""
        return [artifact for artifact in self.artifacts() if artifact.content_type == PICTURE]

    def checkpoints(self, *, status: str | None = None) -> Sequence[Checkpoint]:
        """Return the job's checkpoints, oldest first: those that can be used, or with a status."""
        answer = self._transport.get(f"{self._path}/checkpoints", parameters={"status": status})
        return [checkpoint.bind(self._transport) for checkpoint in read(_CHECKPOINTS, answer)]

    def pause(self) -> "Job":
        """Take the job off its nodes, after a checkpoint, until it is resumed."""
        return self._post("pause")

    def resume(self) -> "Job":
        """Put the paused job back into the queue."""
        return self._post("resume")

    def cancel(self, *, force: bool = False) -> "Job":
        """Stop the job after a checkpoint; by force its processes are killed instead."""
        return self._post("cancel", {"force": force})

    def fork(self, **options: Any) -> "Job":
        """Train a new job from a checkpoint of this one; returns the new one.

        Args:
            options: what it does otherwise: `checkpoint`, `overrides`, `dataset`, `resources`,
                `seed`, `name`, `tags`, `priority`, `max_run_seconds`.
        """
        return self._post("fork", options)

    def change(self, **changes: Any) -> "Job":
        """Change `name`, `tags`, `priority` or `max_run_seconds`."""
        return Job.of(self._transport, self._transport.change("PATCH", self._path, changes))

    def _post(self, verb: str, body: dict[str, Any] | None = None) -> "Job":
        return Job.of(self._transport, self._transport.post(f"{self._path}/{verb}", body))

    def _is_over(self) -> bool:
        return self.refresh().has_ended
