"""Files that jobs leave: artifacts, checkpoints, and their downloads.

Downloads go on where they were cut off, and are checked before they get their name.
"""

import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Self
from urllib.parse import quote

import httpx

from nvae_client._transport import Transport
from nvae_client.errors import ChecksumMismatch, NvaeError, ServiceError
from nvae_client.models import Answer, Bound

OnProgress = Callable[[int], None]
"""Called with how many bytes of the file are there."""
PICTURE = "image/png"


def ignore_progress(_: int) -> None:
    """Do nothing."""


def download(
    transport: Transport,
    path: str,
    target: Path,
    *,
    size_bytes: int,
    sha256: str,
    resume: bool = True,
    on_progress: OnProgress = ignore_progress,
) -> Path:
    """Download a file and return where it is.

    What has come is kept in `<target>.part` until it is complete and its checksum right. A target
    that is right already is not fetched again.

    Args:
        transport: to the service.
        path: of the file at the service, which may redirect.
        target: where the file should be.
        size_bytes: of the file.
        sha256: of the file, in hexadecimal.
        resume: go on with a `.part` file that an earlier download left.
        on_progress: called as bytes come.

    Raises:
        ChecksumMismatch: what came was wrong twice.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if resume and target.is_file() and _sha256(target) == sha256:
        on_progress(size_bytes)
        return target
    part = target.with_name(f"{target.name}.part")
    if not resume:
        part.unlink(missing_ok=True)
    for _ in range(2):  # a damaged part may be older than this download: it is fetched anew, once
        _complete(transport, path, part, size_bytes, on_progress)
        if part.is_file() and _sha256(part) == sha256:
            return part.replace(target)
        part.unlink(missing_ok=True)
    raise ChecksumMismatch(f"{path} does not have the checksum {sha256}")


def _complete(
    transport: Transport, path: str, part: Path, size_bytes: int, on_progress: OnProgress
) -> None:
    """Fetch what is missing of the part."""
    retries = transport.retries()
    part.touch()
    while (have := part.stat().st_size) < size_bytes:
        try:
            _fetch(transport, path, part, have, on_progress)
            if part.stat().st_size <= have:
                raise httpx.RemoteProtocolError("an answer without the bytes that were asked for")
        except (httpx.TransportError, ServiceError) as error:
            if (
                isinstance(error, ServiceError)
                and error.status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE
            ):
                return  # the file is shorter than what is there of it
            if part.stat().st_size > have:
                retries.made_progress()
            retries.absorb(error)


def _fetch(transport: Transport, path: str, part: Path, have: int, on_progress: OnProgress) -> None:
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with transport.stream(path, headers=headers) as response:
        content_range = response.headers.get("Content-Range", "").replace(" ", "")
        is_rest = response.status_code == httpx.codes.PARTIAL_CONTENT and (
            content_range.startswith(f"bytes{have}-")
        )
        if response.status_code == httpx.codes.PARTIAL_CONTENT and not is_rest:
            raise httpx.RemoteProtocolError(f"another range than asked for: {content_range!r}")
        with part.open("ab" if is_rest else "wb") as file:
            written = have if is_rest else 0
            for chunk in response.iter_bytes():
                written += file.write(chunk)
                on_progress(written)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class StoredFile(Answer):
    """A file of a checkpoint."""

    name: str
    size_bytes: int
    sha256: str


class Artifact(Bound):
    """A file that a job made."""

    id: str
    name: str
    size_bytes: int
    sha256: str
    content_type: str
    step: int | None = None
    created_at: datetime
    _job_id: str = ""

    def of_job(self, transport: Transport, job_id: str) -> Self:
        """Say whose it is."""
        self._job_id = job_id
        return self.bind(transport)

    def download(
        self, target: Path, *, resume: bool = True, on_progress: OnProgress = ignore_progress
    ) -> Path:
        """Download to this path, going on where an earlier download was cut off.

        Raises:
            ChecksumMismatch: what came was wrong twice.
        """
        return download(
            self._transport,
            f"/v1/jobs/{self._job_id}/artifacts/{quote(self.name)}",
            target,
            size_bytes=self.size_bytes,
            sha256=self.sha256,
            resume=resume,
            on_progress=on_progress,
        )


class Checkpoint(Bound):
    """A checkpoint; while `committed` it can be evaluated, sampled and resumed from."""

    id: str
    job_id: str
    step: int
    status: str
    pinned: bool
    size_bytes: int
    files: tuple[StoredFile, ...]
    created_at: datetime

    def download(
        self,
        folder: Path,
        *,
        resume: bool = True,
        on_progress: Callable[[str, int], None] = lambda name, num_bytes: None,
    ) -> Path:
        """Download every file into this folder; what is there and right is not fetched again.

        Args:
            folder: is made if it is not there.
            resume: go on where an earlier download was cut off.
            on_progress: called with a file's name and how many bytes of it are there.

        Raises:
            ChecksumMismatch: a file was wrong twice.
        """
        for file in self.files:

            def told(num_bytes: int, name: str = file.name) -> None:
                on_progress(name, num_bytes)

            download(
                self._transport,
                f"/v1/checkpoints/{self.id}/files/{quote(file.name)}",
                folder / safe_path(file.name),
                size_bytes=file.size_bytes,
                sha256=file.sha256,
                resume=resume,
                on_progress=told,
            )
        return folder

    def pin(self) -> "Checkpoint":
        """Keep it, whatever the job's policy says."""
        return self._post("pin")

    def unpin(self) -> "Checkpoint":
        """Leave it to the job's policy again."""
        return self._post("unpin")

    def delete(self) -> "Checkpoint":
        """Delete it; its files go soon."""
        answer = self._transport.change("DELETE", f"/v1/checkpoints/{self.id}")
        return Checkpoint.of(self._transport, answer)

    def _post(self, verb: str) -> "Checkpoint":
        answer = self._transport.post(f"/v1/checkpoints/{self.id}/{verb}")
        return Checkpoint.of(self._transport, answer)


def safe_path(name: str) -> PurePosixPath:
    """Return the name of a stored file as a path that stays below the folder it is put in.

    Raises:
        NvaeError: it would not.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise NvaeError(f"a file named {name!r} would lie outside its folder")
    return path
