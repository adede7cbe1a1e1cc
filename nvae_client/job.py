"""A job as it was when it was asked for, and everything that can be asked of it."""

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypedDict, TypeVar, Unpack

import httpx
from pydantic import ValidationError

from nvae_client._sse import ServerSentEvent, follow_stream
from nvae_client._transport import MAX_WAIT_SECONDS, read
from nvae_client.errors import UNEXPECTED_ANSWER, NvaeError, ServiceError
from nvae_client.files import PICTURE, Artifact, Checkpoint
from nvae_client.models import (
    Answer,
    Attempt,
    Bound,
    Columns,
    Device,
    Event,
    LogText,
    Progress,
    Series,
)

SUCCEEDED = "succeeded"
ENDED = frozenset({SUCCEEDED, "failed", "cancelled"})
PACE_SECONDS = 0.2  # between two looks at a job that changes all the time
PACE_WITHOUT_ETAG_SECONDS = 0.5  # a proxy took it away: every look is answered at once
A = TypeVar("A", bound=Answer)


class JobFailed(NvaeError):
    """A job ended otherwise than by succeeding; `job` is how it ended."""

    def __init__(self, job: "Job") -> None:
        super().__init__(f"job {job.id} {job.status} ({job.reason}): {job.message}")
        self.job = job


class LogChoice(TypedDict, total=False):
    """Which log: of which rank (0), of which attempt (the newest), how many of its last lines."""

    rank: int
    attempt: int
    tail: int


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
    device: Device | None = None
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
        return self._changes(look_seconds=look_seconds, limit_seconds=patience_seconds)

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
        job = self
        changes = self._changes(
            look_seconds=look_seconds,
            limit_seconds=patience_seconds,
            timeout_seconds=timeout_seconds,
        )
        for job in changes:
            on_change(job)
        if job.status != SUCCEEDED:
            raise JobFailed(job)
        return job

    def events(self, *, after: int = 0, follow: bool = True) -> Iterator[Event]:
        """Yield what happened from event `after` + 1 on, and what happens until the job ends."""
        parameters = {"after": after}
        if follow:
            stream = self._follow("events", parameters, is_last=lambda event: event.type in ENDED)
            return (_validated(Event, event) for event in stream)
        answer = self._transport.get(f"{self._path}/events", parameters=parameters)
        return iter(read(tuple[Event, ...], answer))

    def logs(self, *, follow: bool = False, **choice: Unpack[LogChoice]) -> Iterator[LogText]:
        """Yield the last lines of one rank's log, and what it writes until the job ends."""
        if follow:
            stream = self._follow("logs", choice, is_last=lambda event: event.type == "end")
            return (_validated(LogText, event) for event in stream if event.type == "log")
        text = self._transport.get(f"{self._path}/logs", parameters=choice).text
        log = LogText(attempt=choice.get("attempt"), rank=choice.get("rank", 0), text=text)
        return iter([log])

    def metrics(
        self,
        *,
        names: Sequence[str] = (),
        from_step: int | None = None,
        to_step: int | None = None,
        max_points: int | None = None,
    ) -> dict[str, Columns]:
        """Return the job's metrics: name to columns `step` and `value`.

        Args:
            names: which; none means all.
            from_step: the first step, or None for all.
            to_step: the last step, or None for all.
            max_points: of each metric; of a longer one the extremes are returned. None means as
                many as the service thinks enough.
        """
        parameters = {
            "names": [*names],
            "from_step": from_step,
            "to_step": to_step,
            "max_points": max_points,
        }
        answer = self._transport.get(f"{self._path}/metrics", parameters=parameters)
        series = read(dict[str, Series], answer)
        return {name: {"step": one.steps, "value": one.values} for name, one in series.items()}

    def attempts(self) -> Sequence[Attempt]:
        """Return the executions of the job, oldest first."""
        return read(tuple[Attempt, ...], self._transport.get(f"{self._path}/attempts"))

    def artifacts(self) -> Sequence[Artifact]:
        """Return the files that the job made."""
        artifacts = read(tuple[Artifact, ...], self._transport.get(f"{self._path}/artifacts"))
        return [artifact.of_job(self._transport, self.id) for artifact in artifacts]

    def pictures(self) -> Sequence[Artifact]:
        """Return those of its files that are pictures."""
        return [artifact for artifact in self.artifacts() if artifact.content_type == PICTURE]

    def checkpoints(self, *, status: str | None = None) -> Sequence[Checkpoint]:
        """Return the job's checkpoints, oldest first: those that can be used, or with a status."""
        answer = self._transport.get(f"{self._path}/checkpoints", parameters={"status": status})
        checkpoints = read(tuple[Checkpoint, ...], answer)
        return [checkpoint.bind(self._transport) for checkpoint in checkpoints]

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

    def _changes(
        self,
        *,
        look_seconds: float,
        limit_seconds: float | None,
        timeout_seconds: float | None = None,
    ) -> Iterator["Job"]:
        """Yield the job now and whenever it differs, until it has ended.

        Raises:
            TimeoutError: it goes on.
        """
        clock, sleep = self._transport.timing.clock, self._transport.timing.sleep
        ends_at = math.inf if timeout_seconds is None else clock() + timeout_seconds
        etag: str | None = None
        seen = b""
        while True:
            asked_at = clock()
            response = self._transport.get(
                self._path,
                headers={"If-None-Match": etag} if etag else {},
                wait_seconds=_whole_seconds(min(look_seconds, ends_at - asked_at)) if etag else 0,
                limit_seconds=limit_seconds,
            )
            if response.status_code != httpx.codes.NOT_MODIFIED:
                job = Job.of(self._transport, response)
                if response.content != seen:
                    yield job
                if job.has_ended:
                    return
                seen, etag = response.content, response.headers.get("ETag")
            if clock() >= ends_at:
                raise TimeoutError(f"{self._path} has not ended in {timeout_seconds} s; it goes on")
            pace = PACE_SECONDS if etag else PACE_WITHOUT_ETAG_SECONDS
            sleep(max(0.0, pace - (clock() - asked_at)))

    def _follow(
        self, part: str, parameters: Any, *, is_last: Callable[[ServerSentEvent], bool]
    ) -> Iterator[ServerSentEvent]:
        return follow_stream(
            self._transport,
            f"{self._path}/{part}",
            parameters=parameters,
            is_last=is_last,
            has_ended=lambda: self.refresh().has_ended,
        )


def _whole_seconds(seconds: float) -> int:
    return max(1, min(MAX_WAIT_SECONDS, round(seconds)))


def _validated(kind: type[A], event: ServerSentEvent) -> A:
    try:
        return kind.model_validate(event.json())
    except ValidationError as error:
        detail = f"event {event.id or '?'} of the stream is none that this client knows"
        raise ServiceError(status=200, code=UNEXPECTED_ANSWER, detail=detail) from error
