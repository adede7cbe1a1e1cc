"""Data sets and checkpoints on the node: fetched once, checked, kept by content, up to a budget.

Beside each folder lie two files. Whoever changes the folder holds the lock on `.KEY.lock`; every
runner that reads it holds a shared lock on `.KEY.use` until it ends, and that file says how large
the folder is to be and, by its time, when it was last wanted. The kernel drops the locks of a
process that dies. What was not wanted for longest goes first.
"""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from nvae_core.run_directory import file_sha256, write_atomically
from services.domain.keys import StoredFile
from services.domain.states import Reason
from services.processes import is_locked
from services.storage.s3 import DamagedObject, S3Storage

log = structlog.get_logger()
ALWAYS_HASHED_BYTES = 10**9  # a folder below this size is hashed in about a second


@dataclass(frozen=True)
class CacheEntry:
    """One folder of the cache."""

    cache: Path
    key: str

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.cache / self.key

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Change the folder alone; two runners that need it fetch it once."""
        with self._lock_path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def use(self) -> int:
        """Keep the folder from going until the descriptor is closed; called while it is locked."""
        descriptor = os.open(self._use_path, os.O_RDONLY | os.O_CREAT)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        os.utime(self._use_path)
        return descriptor

    def reserve(self, size_bytes: int) -> None:
        """Say how large the folder is to be, before it is."""
        self._use_path.write_text(str(size_bytes))
        self.folder.mkdir(exist_ok=True)

    def size_bytes(self) -> int:
        """Return how large the folder is to be, or is."""
        return max(self._reserved_bytes(), self._stored_bytes())

    def pending_bytes(self) -> int:
        """Return how much somebody is still going to write."""
        if not is_locked(self._lock_path):
            return 0
        return max(0, self._reserved_bytes() - self._stored_bytes())

    def last_wanted_at(self) -> float:
        """Return when a runner last asked for it."""
        path = self._use_path if self._use_path.exists() else self.folder
        return path.stat().st_mtime

    def evict(self) -> bool:
        """Delete the folder, unless it is filled or used; return whether it is gone."""
        with self._lock_path.open("w") as lock, self._use_path.open("a") as use:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._verified_path.unlink(missing_ok=True)
            shutil.rmtree(self.folder)
        return True

    def verified(self) -> dict[str, list[str | int]]:
        """Return what was remembered of its files when they were last found to be right."""
        try:
            remembered = json.loads(self._verified_path.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return remembered if isinstance(remembered, dict) else {}

    def remember(self, verified: dict[str, list[str | int]]) -> None:
        """Remember this of its files."""
        write_atomically(self._verified_path, json.dumps(verified).encode())

    def _reserved_bytes(self) -> int:
        try:
            return int(self._use_path.read_text() or 0)
        except FileNotFoundError:
            return 0

    def _stored_bytes(self) -> int:
        sizes = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                try:
                    sizes += Path(folder, name).stat().st_size
                except FileNotFoundError:  # a download has just got its name
                    continue
        return sizes

    @property
    def _lock_path(self) -> Path:
        return self.cache / f".{self.key}.lock"

    @property
    def _use_path(self) -> Path:
        return self.cache / f".{self.key}.use"

    @property
    def _verified_path(self) -> Path:
        return self.cache / f".{self.key}.verified"


def list_entries(cache: Path) -> list[CacheEntry]:
    """Return the folders that are in the cache."""
    return [
        CacheEntry(cache, path.name)
        for path in cache.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    ]


def reserve_room(
    entry: CacheEntry, *, size_bytes: int, missing_bytes: int, budget_bytes: int
) -> None:
    """Reserve room for a locked entry; what nobody uses goes for it.

    Args:
        entry: that is going to be filled.
        size_bytes: of the whole folder.
        missing_bytes: of it, what is still to be written.
        budget_bytes: of all folders together.

    Raises:
        OSError: "no space left": it is too large, or too much of the rest is in use.
    """
    with (entry.cache / ".room.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two that reserve at once would see the same room
        others = [other for other in list_entries(entry.cache) if other.key != entry.key]
        others.sort(key=CacheEntry.last_wanted_at)
        while True:
            free_bytes = shutil.disk_usage(entry.cache).free
            free_bytes -= sum(other.pending_bytes() for other in others)
            room_bytes = budget_bytes - sum(other.size_bytes() for other in others)
            if size_bytes <= room_bytes and missing_bytes <= free_bytes:
                entry.reserve(size_bytes)
                return
            evicted = None
            if size_bytes <= budget_bytes:  # else nothing would help
                evicted = next((other for other in others if other.evict()), None)
            if evicted is None:
                raise OSError(
                    errno.ENOSPC,
                    f"{entry.key} has {size_bytes} bytes, and there is no room for it: of"
                    f" {budget_bytes} bytes for inputs (NVAE_WORKER_CACHE_BYTES) {room_bytes} are"
                    f" left, and of the disk {free_bytes}",
                )
            log.info("input.evicted", key=evicted.key)
            others.remove(evicted)


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
                reserve_room(
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
    status = (folder / file.name).stat()
    return [file.sha256, status.st_size, status.st_mtime_ns, status.st_ino]


def list_files(folder: Path) -> list[StoredFile]:
    """Return name, size and checksum of every file below the folder; blocks."""
    return [describe_file(path, str(path.relative_to(folder))) for path in files_below(folder)]


def files_below(folder: Path) -> list[Path]:
    """Return every file below the folder, by name."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def describe_file(path: Path, name: str) -> StoredFile:
    """Return size and checksum of a file, under this name; blocks."""
    return StoredFile(name, path.stat().st_size, file_sha256(path))
