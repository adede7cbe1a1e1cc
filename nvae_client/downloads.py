"""Downloads that go on where they were cut off, and are checked before they get their name."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx

from nvae_client.errors import ChecksumMismatch, ServiceError
from nvae_client.transport import Transport

OnProgress = Callable[[int], None]
"""Called with how many bytes of the file are there."""


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
