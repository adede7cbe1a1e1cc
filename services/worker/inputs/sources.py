"""Where the source of a data set lies on this node; what is in S3 is copied next to the attempt."""

import contextlib
import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from nvae_core.config import PathSource
from nvae_core.run_directory import RunDirectory
from services.domain.errors import InvalidSpec
from services.settings import WorkerSettings
from services.storage.s3 import DamagedObject, S3Storage, StoredObject

MAX_NAME_BYTES = 255  # of one part of a path, on every file system there is


@dataclass(frozen=True)
class SourceLocator:
    """Finds a source on the node, or copies it there; `staging` goes when the attempt ends."""

    settings: WorkerSettings
    staging: Path
    storage: S3Storage

    def locate(self, source: PathSource) -> Path:
        """Return the local path; blocks, so call it in a thread.

        Raises:
            InvalidSpec: the source is not there, is too large, or leads out of the node's folder.
            StorageUnavailable: the object store is away.
            OSError: the disk has no room for it.
        """
        if not source.is_in_s3:
            return resolve_source(source, self.settings.datasets_folder)
        bucket, _, prefix = source.path.removeprefix("s3://").partition("/")
        try:
            return self._copy(bucket, prefix.rstrip("/"))
        except DamagedObject as error:
            raise InvalidSpec.at("/source/path", f"{source.path}: {error}") from error

    def _copy(self, bucket: str, prefix: str) -> Path:
        """Copy all objects below the prefix, or the one object of this name."""
        root = self.staging / prefix.rpartition("/")[2]
        below = self._list_below(bucket, f"{prefix}/")
        copies = {_path_below(root, stored.key, f"{prefix}/"): stored for stored in below}
        if not copies:
            copies = {root: self.storage.find_object(bucket, prefix)}
        num_bytes = sum(stored.size_bytes for stored in copies.values())
        self._check_limits(len(copies), num_bytes)
        folders = {folder for path in copies for folder in path.parents}
        if not folders.isdisjoint(copies):
            raise InvalidSpec.at("/source/path", "a key is the name of a file and of a folder")
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.staging).free
        if num_bytes > free:
            raise OSError(errno.ENOSPC, f"the source has {num_bytes} bytes, the disk {free} left")
        self.storage.copy_objects(bucket, copies)
        return root

    def _list_below(self, bucket: str, prefix: str) -> list[StoredObject]:
        objects: list[StoredObject] = []
        num_bytes = 0
        for stored in self.storage.list_objects(bucket, prefix):
            if stored.key.endswith("/"):
                continue  # some programs mark folders so
            objects.append(stored)
            num_bytes += stored.size_bytes
            self._check_limits(len(objects), num_bytes)  # now: the list may be endless
        return objects

    def _check_limits(self, num_files: int, num_bytes: int) -> None:
        for count, limit, unit in (
            (num_files, self.settings.max_source_files, "files"),
            (num_bytes, self.settings.max_source_bytes, "bytes"),
        ):
            if count > limit:
                message = f"has more than {limit} {unit}, as many as a source may have"
                raise InvalidSpec.at("/source/path", message)


def staging_folder(run_directory: RunDirectory) -> Path:
    """Return where an attempt keeps the copy of a source, beside its run directory."""
    return run_directory.path.with_name("source")


def drop_staging(run_directory: RunDirectory) -> None:
    """Delete the copy of a source, even one that is still being made."""
    staging = staging_folder(run_directory)
    dropped = staging.with_name("source.dropped")
    with contextlib.suppress(FileNotFoundError):
        staging.rename(dropped)  # what a thread would still add has no folder any more
    shutil.rmtree(dropped, ignore_errors=True)


def resolve_source(source: PathSource, datasets_folder: Path | None) -> Path:
    """Return the path on this node.

    Raises:
        InvalidSpec: the path, or a link below it, leads out of the folder of sources.
    """
    if datasets_folder is None:
        message = "this node has no folder of sources (NVAE_WORKER_DATASETS_FOLDER)"
        raise InvalidSpec.at("/source/path", message)
    try:
        root = datasets_folder.resolve()
        path = (root / source.path).resolve()
        if not path.is_relative_to(root):
            message = f"{source.path!r} leads out of the folder of sources"
            raise InvalidSpec.at("/source/path", message)
        _check_links(path, root)
    except (OSError, RuntimeError) as error:  # a loop of links
        raise InvalidSpec.at("/source/path", f"{source.path!r}: {error}") from error
    return path


def _check_links(path: Path, root: Path) -> None:
    """Refuse links that would be followed out of the folder of sources.

    A link to a folder has to stay below the path itself, where what it leads to is looked at too.
    """
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            link = Path(folder, name)
            if not link.is_symlink():
                continue
            target = link.resolve()
            if not target.is_relative_to(path if target.is_dir() else root):
                message = f"the link {str(link.relative_to(root))!r} leads out of the source"
                raise InvalidSpec.at("/source/path", message)


def _path_below(root: Path, key: str, prefix: str) -> Path:
    parts = key.removeprefix(prefix).split("/")
    is_bad = any(part in {"", ".", ".."} or len(part.encode()) > MAX_NAME_BYTES for part in parts)
    if is_bad or not key.isprintable():
        raise InvalidSpec.at("/source/path", f"the key {key[:200]!r} is not the name of a file")
    return root.joinpath(*parts)
