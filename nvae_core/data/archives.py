"""Files of a source: below a folder, in a zip archive, or in a `.tar.gz`.

Archives may come from anyone: their files are read one by one, never extracted by name.
"""

import gzip
import io
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from nvae_core.data.errors import InvalidDataset, check_disk, check_inflation, refuse_damage, shown

MAX_ENTRIES = 1_000_000  # each takes half a kilobyte of memory, in every process that decodes
MAX_DIRECTORY_BYTES = 256 * 2**20
MAX_NAME_CHARACTERS = 1000
ENTRY_MARK = b"PK\x01\x02"  # each entry of the directory begins with it
CHUNK_BYTES = 2**16  # an entry that lies about its size inflates by no more than this
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
ENCRYPTED = 0x1
MAX_TAR_FILE_BYTES = 2**26
MAX_UNPACKED_BYTES = 2**28  # all of a tar: what is not wanted has to be read over too
MAX_MEMBERS = 1000  # of a tar: tarfile keeps them all in memory


class FolderFiles:
    """All files below a folder; names are relative to it, hidden ones are left out."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self) -> list[str]:
        """Return the sorted names.

        Raises:
            InvalidDataset: it is not a folder, or it cannot be listed.
        """
        if not self._root.is_dir():
            raise InvalidDataset(f"source.path: {self._root} is not a folder")
        try:
            return sorted(_walk(self._root, "", frozenset()))
        except OSError as error:
            raise InvalidDataset(f"source.path: {error}") from error

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """Return the content of a file.

        Raises:
            ValueError: it is larger.
        """
        with (self._root / name).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > max_bytes:
                raise ValueError(f"its {size} bytes are more than {max_bytes}")
            return file.read(size)


def _walk(folder: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return  # a link that leads back up
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue  # such as macOS leaves
            if entry.is_dir():
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", above | {identity})
            elif entry.is_file():
                yield f"{prefix}{entry.name}"


class ZipFiles:
    """All files of a zip archive, after a check of every entry.

    Raises:
        InvalidDataset: it is no zip archive, or an entry is not one of an honest archive.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise InvalidDataset(f"source.path: there is no file {path}")
        with refuse_damage(path.name), ExitStack() as on_refusal:
            self._file = on_refusal.enter_context(path.open("rb"))
            self._archive = zipfile.ZipFile(_BoundedReader(self._file))
            self._entries = _check_entries(self._archive.infolist(), path)
            on_refusal.pop_all()

    def names(self) -> list[str]:
        """Return the sorted names, without hidden files."""
        return sorted(name for name in self._entries if not _is_hidden(name))

    def size(self, name: str) -> int:
        """Return the size of a file, as its entry has it."""
        return self._entries[name].file_size

    def open(self, name: str) -> IO[bytes]:
        """Open a file; what it gives is at most its size, and inflates only as it is read.

        Raises:
            KeyError: there is no such file.
        """
        return self._archive.open(self._entries[name])

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """Return the content of a file.

        Raises:
            ValueError: it is larger, or damaged.
        """
        size = self.size(name)
        if size > max_bytes:
            raise ValueError(f"its {size} bytes are more than {max_bytes}")
        return b"".join(self._chunks(name))

    @contextmanager
    def copied(self, name: str, copy: Path, *, max_bytes: int) -> Iterator[None]:
        """Keep a copy of the file at a path, for as long as this is entered.

        Raises:
            InvalidDataset: it is larger, or damaged.
        """
        size = self.size(name)
        if size > max_bytes:
            raise InvalidDataset(f"source.path: {shown(name)} is larger than {max_bytes} bytes")
        check_disk(copy.parent, size)
        try:
            with refuse_damage(shown(name)), copy.open("wb") as file:
                file.writelines(self._chunks(name))
            yield
        finally:
            copy.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()
        self._file.close()

    def _chunks(self, name: str) -> Iterator[bytes]:
        with self.open(name) as entry:
            while chunk := entry.read(CHUNK_BYTES):
                yield chunk


class _BoundedReader:
    """A file of which only so much is read at once: `zipfile` believes sizes in the file."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, num_bytes: int = -1) -> bytes:
        if num_bytes > MAX_DIRECTORY_BYTES:
            raise InvalidDataset("source.path: the directory of the zip archive is too large")
        content = self._file.read(num_bytes if num_bytes >= 0 else MAX_DIRECTORY_BYTES)
        if content.count(ENTRY_MARK) > MAX_ENTRIES:  # before an object is made of each
            raise InvalidDataset(
                f"source.path: the zip archive has more than {MAX_ENTRIES} entries"
            )
        return content


def _check_entries(entries: list[zipfile.ZipInfo], path: Path) -> dict[str, zipfile.ZipInfo]:
    num_file_bytes = path.stat().st_size
    for entry in entries:
        problem = _find_problem(entry)
        if problem:
            raise InvalidDataset(f"source.path: entry {shown(entry.orig_filename)} {problem}")
    if sum(entry.compress_size for entry in entries) > num_file_bytes:
        raise InvalidDataset(f"source.path: entries of {path.name} overlap")
    check_inflation(num_file_bytes, sum(entry.file_size for entry in entries), name=path.name)
    files = {entry.filename: entry for entry in entries if not entry.is_dir()}
    if len(files) < sum(not entry.is_dir() for entry in entries):
        raise InvalidDataset(f"source.path: two entries of {path.name} have the same name")
    return files


def _find_problem(entry: zipfile.ZipInfo) -> str | None:
    name = entry.orig_filename
    if name.startswith("/") or ".." in name.split("/") or "\\" in name or "\0" in name:
        return "has a name that leads elsewhere"
    if len(name) > MAX_NAME_CHARACTERS:
        return "has a name that is too long"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "is a link"
    if entry.flag_bits & ENCRYPTED or entry.compress_type not in METHODS:
        return "is encrypted, or compressed in a way that is not supported"
    return None


def _is_hidden(name: str) -> bool:
    parts = name.split("/")
    return parts[0] == "__MACOSX" or any(p.startswith(".") and p != "." for p in parts)


def list_zip(path: Path) -> list[str]:
    """Return the names of an archive's files, after a check of every entry."""
    with closing(ZipFiles(path)) as archive:
        return archive.names()


def open_files(path: Path) -> FolderFiles | ZipFiles:
    """Open a folder, or a zip archive.

    Raises:
        InvalidDataset: it is neither, or the archive is damaged or hostile.
    """
    return FolderFiles(path) if path.is_dir() else ZipFiles(path)


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
            if member.size > MAX_TAR_FILE_BYTES:  # a sparse one is short in the archive
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
