"""A synchronous client: submit jobs, follow them, download what they made."""

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

Json = dict[str, Any]
ENDED = frozenset({"succeeded", "failed", "cancelled"})


class ServiceError(Exception):
    """The service refused a request; `problem` is its problem document (RFC 9457)."""

    def __init__(self, problem: Json) -> None:
        super().__init__(f"{problem.get('title')}: {problem.get('detail')}")
        self.problem = problem


class JobFailed(Exception):
    """A job ended otherwise than by succeeding; `job` is how it was seen last."""

    def __init__(self, job: Json) -> None:
        super().__init__(f"job {job['id']} {job['status']} ({job['reason']}): {job['message']}")
        self.job = job


class ChecksumMismatch(Exception):
    """A download is not what the service said it would be."""


class NvaeClient:
    """Talks to one service; use it in a `with` block."""

    def __init__(self, url: str, *, timeout_seconds: float = 30.0) -> None:
        self._http = httpx.Client(base_url=url, timeout=timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def register_dataset(self, name: str, source: Json) -> Json:
        """Register a source of images; returns the data set and the job that prepares it."""
        return self._post("/v1/datasets", {"name": name, "source": source})

    def submit(self, spec: Json) -> Json:
        """Submit a job and return it."""
        return self._post("/v1/jobs", spec)

    def cancel(self, job_id: str, *, force: bool = False) -> Json:
        """Ask a job to stop, or have it killed; returns it."""
        return self._post(f"/v1/jobs/{job_id}/cancel", {"force": force})

    def pause(self, job_id: str) -> Json:
        """Take a job off its nodes until it is resumed; returns it."""
        return self._post(f"/v1/jobs/{job_id}/pause", None)

    def resume(self, job_id: str) -> Json:
        """Put a paused job back into the queue; returns it."""
        return self._post(f"/v1/jobs/{job_id}/resume", None)

    def fork(self, job_id: str, options: Json) -> Json:
        """Train a new job from a checkpoint of this one; returns the new one."""
        return self._post(f"/v1/jobs/{job_id}/fork", options)

    def job(self, job_id: str) -> Json:
        """Return a job as it is now."""
        found: Json = self._get(f"/v1/jobs/{job_id}")
        return found

    def wait(
        self,
        job_id: str,
        *,
        on_look: Callable[[Json], None] = lambda job: None,
        interval_seconds: float = 0.5,
        patience_seconds: float = 60.0,
    ) -> Json:
        """Return the job once it has succeeded, looking at it at intervals.

        Args:
            job_id: the job.
            on_look: called with the job each time it was looked at.
            interval_seconds: between two looks.
            patience_seconds: for how long the service may be away.

        Raises:
            JobFailed: it ended otherwise.
            ServiceError, httpx.TransportError: the service was away for longer than that.
        """
        last_seen_at = time.monotonic()
        while True:
            try:
                job = self.job(job_id)
            except (ServiceError, httpx.TransportError) as error:
                is_away = not isinstance(error, ServiceError) or error.problem["status"] >= 500
                if not is_away or time.monotonic() - last_seen_at > patience_seconds:
                    raise
            else:
                last_seen_at = time.monotonic()
                on_look(job)
                if job["status"] == "succeeded":
                    return job
                if job["status"] in ENDED:
                    raise JobFailed(job)
            time.sleep(interval_seconds)

    def metrics(
        self,
        job_id: str,
        *,
        names: Sequence[str] = (),
        from_step: int | None = None,
        to_step: int | None = None,
        max_points: int | None = None,
    ) -> Json:
        """Return the job's metrics: name to steps and values.

        Args:
            job_id: the job.
            names: which; none means all.
            from_step: the first step, or None for all.
            to_step: the last step, or None for all.
            max_points: of each metric; of a longer one the extremes are returned. None means as
                many as the service thinks enough.
        """
        limits = {"from_step": from_step, "to_step": to_step, "max_points": max_points}
        given = {name: value for name, value in limits.items() if value is not None}
        found: Json = self._get(f"/v1/jobs/{job_id}/metrics", {"names": [*names], **given})
        return found

    def artifacts(self, job_id: str) -> list[Json]:
        """Return the files a job made."""
        found: list[Json] = self._get(f"/v1/jobs/{job_id}/artifacts")
        return found

    def checkpoints(self, job_id: str) -> list[Json]:
        """Return a job's checkpoints, oldest first."""
        found: list[Json] = self._get(f"/v1/jobs/{job_id}/checkpoints")
        return found

    def download_artifact(self, job_id: str, artifact: Json, target: Path) -> Path:
        """Download a file a job made to `target`, checking its checksum."""
        url = f"/v1/jobs/{job_id}/artifacts/{artifact['name']}"
        return self._download(url, target, artifact["sha256"])

    def download_checkpoint(self, checkpoint: Json, folder: Path) -> Path:
        """Download every file of a checkpoint into `folder`, checking their checksums."""
        for file in checkpoint["files"]:
            url = f"/v1/checkpoints/{checkpoint['id']}/files/{file['name']}"
            self._download(url, folder / file["name"], file["sha256"])
        return folder

    def _download(self, url: str, target: Path, sha256: str) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            self._fetch(url, partial, sha256)
            return partial.rename(target)
        finally:
            partial.unlink(missing_ok=True)

    def _fetch(self, url: str, partial: Path, sha256: str) -> None:
        digest = hashlib.sha256()
        with (
            self._http.stream("GET", url, follow_redirects=True) as response,
            partial.open("wb") as file,
        ):
            if response.is_error:
                response.read()
            _check(response)
            for chunk in response.iter_bytes():
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != sha256:
            raise ChecksumMismatch(f"{url} does not have the checksum {sha256}")

    def _get(self, url: str, parameters: Json | None = None) -> Any:
        return _check(self._http.get(url, params=parameters)).json()

    def _post(self, url: str, body: Json | None) -> Json:
        answer: Json = _check(self._http.post(url, json=body)).json()
        return answer


def _check(response: httpx.Response) -> httpx.Response:
    if not response.is_error:
        return response
    try:
        problem = dict(response.json())
    except (ValueError, TypeError):
        problem = {"title": response.reason_phrase, "detail": response.text}
    raise ServiceError({"status": response.status_code, **problem})
