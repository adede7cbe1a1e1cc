"""The folders of the node's input cache: who fills one, who uses one, and which one goes first.

Beside the folder lie two files. Whoever changes the folder holds the lock on `.KEY.lock`; every
runner that reads it holds a shared lock on `.KEY.use` until it ends, and that file says how large
the folder is to be and, by its time, when it was last wanted. The kernel drops the locks of a
process that dies.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nvae_core.run_directory import write_atomically
from services.adapters.processes import is_locked


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
