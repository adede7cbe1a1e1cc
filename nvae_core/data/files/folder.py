"""Files below a folder."""

import os
from collections.abc import Iterator
from pathlib import Path

from nvae_core.data.invalid import InvalidDataset


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

    def close(self) -> None:
        """Nothing is open."""


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
