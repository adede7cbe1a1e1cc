"""Bringing data sets and checkpoints to the node: fetched once, checked, kept by content."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nvae_core.run_directory import file_sha256
from services.adapters.postgres.results import StoredFile
from services.adapters.s3_storage import DamagedObject, S3Storage
from services.domain.statuses import Reason
from services.worker.cache_entries import CacheEntry
from services.worker.cache_room import make_room

ALWAYS_HASHED_BYTES = 10**9  # a folder below this size is hashed in about a second


@dataclass(frozen=True)
class StoredFolder:
    """A prefix in S3 and the files under it; the key names it in the node's cache."""

    key: str
    prefix: str
    files: Sequence[StoredFile]
    reason_if_corrupt: Reason

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(file.size_bytes for file in self.files)


class CorruptInput(Exception):
    """An input in S3 is not what was uploaded."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class InputCache:
    """A folder on the node with one folder per data set or checkpoint, up to a budget."""

    def __init__(self, path: Path, storage: S3Storage, *, budget_bytes: int | None) -> None:
        self._path = path
        self._storage = storage
        path.mkdir(parents=True, exist_ok=True)
        # The other half is for runs, and for who else uses the disk.
        self._budget_bytes = budget_bytes or shutil.disk_usage(path).total // 2
        self._used: dict[str, int] = {}

    def fetch(self, folder: StoredFolder) -> Path:
        """Return the local folder, downloading what is missing; blocks, so call it in a thread.

        The folder stays until this process ends, or until `release`.

        Raises:
            CorruptInput: a file in S3 is not what was uploaded.
            StorageUnavailable: the object store is away.
            OSError: there is no room for it, even without what nobody uses.
        """
        entry = CacheEntry(self._path, folder.key)
        with entry.locked():
            missing = self._find_missing(entry, folder)
            if missing:
                make_room(
                    entry,
                    size_bytes=folder.size_bytes,
                    missing_bytes=sum(file.size_bytes for file in missing),
                    budget_bytes=self._budget_bytes,
                )
            for file in missing:
                self._download(folder, file, entry.folder / file.name)
            entry.remember({file.name: _stamp(entry.folder, file) for file in folder.files})
            if folder.key not in self._used:
                self._used[folder.key] = entry.use()
        return entry.folder

    def release(self) -> None:
        """Let go of every folder: what reads them has ended."""
        while self._used:
            os.close(self._used.popitem()[1])

    def _find_missing(self, entry: CacheEntry, folder: StoredFolder) -> list[StoredFile]:
        """Return the files that are not there, or are not what they should be.

        Disks do go bad, so files are hashed each time. Only of a large folder, where that would
        take minutes before each start, a file that was right and was not written to since is right.
        """
        named = {entry.folder / file.name for file in folder.files}
        for partial in {*entry.folder.rglob(".*")} - named:  # of a runner that was killed
            partial.unlink()
        verified = entry.verified() if folder.size_bytes >= ALWAYS_HASHED_BYTES else {}
        missing = []
        for file in folder.files:
            path = entry.folder / file.name
            if not path.exists() or path.stat().st_size != file.size_bytes:
                missing.append(file)
            elif verified.get(file.name) == _stamp(entry.folder, file):
                continue
            elif file_sha256(path) != file.sha256:
                missing.append(file)
        return missing

    def _download(self, folder: StoredFolder, file: StoredFile, path: Path) -> None:
        key = f"{folder.prefix}/{file.name}"
        try:
            self._storage.download(key, path, sha256=file.sha256)
        except DamagedObject:
            try:  # it may have been damaged on the way
                self._storage.download(key, path, sha256=file.sha256)
            except DamagedObject as error:
                raise CorruptInput(folder.reason_if_corrupt, str(error)) from error


def _stamp(folder: Path, file: StoredFile) -> list[str | int]:
    """Return what changes whenever a file is replaced or written to."""
    found = (folder / file.name).stat()
    return [file.sha256, found.st_size, found.st_mtime_ns, found.st_ino]


def list_files(folder: Path) -> list[StoredFile]:
    """Return name, size and checksum of every file below the folder; blocks."""
    return [describe_file(path, str(path.relative_to(folder))) for path in files_below(folder)]


def files_below(folder: Path) -> list[Path]:
    """Return every file below the folder, by name."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def describe_file(path: Path, name: str) -> StoredFile:
    """Return size and checksum of a file, under this name; blocks."""
    return StoredFile(name, path.stat().st_size, file_sha256(path))
