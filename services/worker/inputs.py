"""Bringing data sets and checkpoints to the node: fetched once, checked, kept by content."""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nvae_core.run_directory import file_sha256
from services.adapters.postgres.results import StoredFile
from services.adapters.s3_storage import DamagedObject, S3Storage
from services.domain.statuses import Reason


@dataclass(frozen=True)
class StoredFolder:
    """A prefix in S3 and the files under it; the key names it in the node's cache."""

    key: str
    prefix: str
    files: Sequence[StoredFile]
    reason_if_corrupt: Reason


class CorruptInput(Exception):
    """An input in S3 is not what was uploaded."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class InputCache:
    """A folder on the node with one folder per data set or checkpoint."""

    def __init__(self, path: Path, storage: S3Storage) -> None:
        self._path = path
        self._storage = storage
        path.mkdir(parents=True, exist_ok=True)

    def fetch(self, folder: StoredFolder) -> Path:
        """Return the local folder, downloading what is missing; blocks, so call it in a thread.

        Raises:
            CorruptInput: a file in S3 is not what was uploaded.
            StorageUnavailable: the object store is away.
        """
        local = self._path / folder.key
        with self._locked(folder.key):
            for file in folder.files:
                path = local / file.name
                if path.exists() and file_sha256(path) == file.sha256:
                    continue  # hashed each time: disks do go bad
                try:
                    self._storage.download(f"{folder.prefix}/{file.name}", path, sha256=file.sha256)
                except DamagedObject as error:
                    raise CorruptInput(folder.reason_if_corrupt, str(error)) from error
        return local

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        with (self._path / f".{key}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two runners that need it fetch it once
            yield


def list_files(folder: Path) -> list[StoredFile]:
    """Return name, size and checksum of every file below the folder; blocks."""
    return [
        StoredFile(
            name=str(path.relative_to(folder)),
            size_bytes=path.stat().st_size,
            sha256=file_sha256(path),
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
