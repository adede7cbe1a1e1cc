"""Where the source of a data set lies on this node; what is in S3 is copied next to the attempt."""

import errno
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from nvae_core.config import PathSource
from nvae_core.run_directory import RunDirectory
from services.adapters.s3_storage import DamagedObject, S3Storage, StoredObject
from services.domain.errors import InvalidSpec

NUM_DOWNLOADS_AT_ONCE = 8  # most sources are many small files


@dataclass(frozen=True)
class SourceLocator:
    """Finds a source on the node, or copies it there."""

    datasets_folder: Path | None
    staging_folder: Path  # of this attempt, removed with it
    max_bytes: int
    storage: S3Storage

    def locate(self, source: PathSource) -> Path:
        """Return the local path; blocks, so call it in a thread.

        Raises:
            InvalidSpec: the source is not there, is too large, or is not below the node's folder.
            StorageUnavailable: the object store is away.
        """
        if not source.is_in_s3:
            return resolve_source(source, self.datasets_folder)
        bucket, _, prefix = source.path.removeprefix("s3://").partition("/")
        try:
            return self._copy(bucket, prefix.rstrip("/"))
        except DamagedObject as error:
            raise InvalidSpec.at("/source/path", f"{source.path}: {error}") from error

    def _copy(self, bucket: str, prefix: str) -> Path:
        """Copy all objects below the prefix, or the one object of this name."""
        root = self.staging_folder / prefix.rpartition("/")[2]
        objects = list(self._below(bucket, f"{prefix}/"))
        copies = {stored.key: _path_below(root, stored.key, f"{prefix}/") for stored in objects}
        if not objects:
            objects = [self.storage.find_object(bucket, prefix)]
            copies = {prefix: root}
        self._check_size(sum(stored.size_bytes for stored in objects))
        for folder in {path.parent for path in copies.values()}:
            folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(NUM_DOWNLOADS_AT_ONCE) as downloads:
            tasks = [
                downloads.submit(self.storage.download_object, bucket, key, path)
                for key, path in copies.items()
            ]
            try:
                for task in tasks:
                    task.result()
            finally:
                downloads.shutdown(wait=True, cancel_futures=True)
        return root

    def _below(self, bucket: str, prefix: str) -> Iterator[StoredObject]:
        num_bytes = 0
        for stored in self.storage.list_objects(bucket, prefix):
            if stored.key.endswith("/"):
                continue  # some programs mark folders so
            num_bytes += stored.size_bytes
            self._check_size(num_bytes)
            yield stored

    def _check_size(self, num_bytes: int) -> None:
        if num_bytes > self.max_bytes:
            message = f"has more than {self.max_bytes} bytes, as many as a source may have"
            raise InvalidSpec.at("/source/path", message)
        self.staging_folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.staging_folder).free
        if num_bytes > free:
            raise OSError(errno.ENOSPC, f"the source has {num_bytes} bytes, the disk {free} left")


def staging_folder(run_directory: RunDirectory) -> Path:
    """Return where an attempt keeps the copy of a source, beside its run directory."""
    return run_directory.path.with_name("source")


def resolve_source(source: PathSource, datasets_folder: Path | None) -> Path:
    """Return the path on this node; links may not lead out of the folder of sources."""
    if datasets_folder is None:
        message = "this node has no folder of sources (NVAE_WORKER_DATASETS_FOLDER)"
        raise InvalidSpec.at("/source/path", message)
    try:
        root = datasets_folder.resolve()
        path = (root / source.path).resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        raise InvalidSpec.at("/source/path", f"{source.path!r}: {error}") from error
    if not path.is_relative_to(root):
        raise InvalidSpec.at("/source/path", f"{source.path!r} leads out of the folder of sources")
    return path


def _path_below(root: Path, key: str, prefix: str) -> Path:
    parts = key.removeprefix(prefix).split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or not key.isprintable():
        raise InvalidSpec.at("/source/path", f"the key {key!r} is not the name of a file")
    return root.joinpath(*parts)
