"""A few known files out of a `.tar.gz` that may come from anyone."""

import gzip
import shutil
import tarfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from nvae_core.data.invalid import InvalidDataset, refuse_damage

MAX_FILE_BYTES = 2**26
MAX_UNPACKED_BYTES = 2**28  # all of it: what is not wanted has to be read over too
MAX_MEMBERS = 1000  # tarfile keeps them all in memory


def unpack_files(path: Path, wanted: Collection[str], into: Path) -> None:
    """Write those files whose last name is wanted into a folder, under that name alone.

    Raises:
        InvalidDataset: it is damaged, or unpacks to more than CIFAR-10 ever could.
    """
    with (
        refuse_damage(path.name),
        _BoundedGzip(path) as content,
        tarfile.open(fileobj=content, mode="r|") as archive,
    ):
        for number, member in enumerate(archive):
            if number == MAX_MEMBERS:
                raise ValueError(f"it has more than {MAX_MEMBERS} members")
            name = PurePosixPath(member.name).name
            if name not in wanted or not member.isreg():
                continue
            if member.size > MAX_FILE_BYTES:  # a sparse one is short in the archive
                raise ValueError(f"{name} claims {member.size} bytes")
            source = archive.extractfile(member)
            assert source is not None  # it is a regular file
            with (into / name).open("wb") as copy:
                shutil.copyfileobj(source, copy)


class _BoundedGzip(gzip.GzipFile):
    """A compressed file that refuses to go on where an honest archive has long ended."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._num_bytes_left = MAX_UNPACKED_BYTES

    def read(self, size: int | None = -1) -> bytes:
        self._num_bytes_left -= size or 0
        if self._num_bytes_left < 0:
            message = f"source.path: the archive unpacks to more than {MAX_UNPACKED_BYTES} bytes"
            raise InvalidDataset(message)
        return super().read(size)
