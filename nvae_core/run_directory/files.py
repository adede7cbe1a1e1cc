"""Files that are complete or absent, their hashes, and errors in one sentence."""

import errno
import hashlib
import os
import threading
from pathlib import Path

from pydantic import ValidationError

MAX_UNWRITTEN_BYTES = 16 * 2**20


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    finally:  # a full disk must not be left fuller
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


class AppendedFile:
    """A file that only grows; what does not fit on a full disk is appended before what follows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._unwritten = b""

    def append(self, content: bytes) -> None:
        """Append, in a single write."""
        with self._lock:
            self._unwritten += content
            try:
                self._write()
            except OSError as error:
                if not is_disk_full(error) or len(self._unwritten) > MAX_UNWRITTEN_BYTES:
                    raise

    def finish(self) -> None:
        """Append what waits.

        Raises:
            OSError: there is still no room for it.
        """
        with self._lock:
            if self._unwritten:
                self._write()

    def _write(self) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            while self._unwritten:
                num_written = os.write(descriptor, self._unwritten)  # less, when the disk fills up
                self._unwritten = self._unwritten[num_written:]
        finally:
            os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(path: Path) -> None:
    """Make renames inside the folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_disk_full(error: BaseException) -> bool:
    """Whether the error says that there is no room left, on the disk or in a quota."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


def describe_errors(error: ValidationError) -> str:
    """Return the errors in one sentence, each with the dotted name of its field."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or 'value'}: {item['msg']}"
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    )
