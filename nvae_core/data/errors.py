"""What is refused of a data set: the exception, the limits of sources, and unreadable files."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nvae_core.run_directory import is_disk_full

MAX_SHOWN_CHARACTERS = 200
MAX_REPORTED_FILES = 20  # unreadable ones, in a message
MAX_KEPT_FILES = 1000  # and in the manifest
MAX_INFLATION = 100  # of compressed files; photographs reach 1.1, drawings 20
FREE_INFLATION_BYTES = 2**30  # what any compressed file may become


class InvalidDataset(ValueError):
    """A data set is missing, damaged, or does not fit; the message says which file and why."""


def shown(text: str) -> str:
    """Make text from a file fit for a message: short, and without control characters."""
    return "".join(c if c.isprintable() else "?" for c in text[:MAX_SHOWN_CHARACTERS])


@contextmanager
def refuse_damage(part: str) -> Iterator[None]:
    """Turn whatever a parser raises for this part of a source into `InvalidDataset`."""
    try:
        yield
    except InvalidDataset:
        raise
    except OSError as error:
        if is_disk_full(error):
            raise
        raise InvalidDataset(f"source.path: {part}: {error.strerror or error}") from error
    # A parser of hostile bytes fails in every way there is, RecursionError and MemoryError too.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        message = f"source.path: {part} is damaged or cut off ({shown(reason)})"
        raise InvalidDataset(message) from error


def check_inflation(num_stored_bytes: int, num_claimed_bytes: int, *, name: str) -> None:
    """Refuse a compressed file that becomes much larger than real images do.

    Raises:
        InvalidDataset: it does; the message has the name.
    """
    if num_claimed_bytes > max(FREE_INFLATION_BYTES, MAX_INFLATION * num_stored_bytes):
        raise InvalidDataset(
            f"source.path: {name} claims {num_claimed_bytes} bytes but is {num_stored_bytes} "
            f"compressed: that is more than {MAX_INFLATION} times"
        )


def check_disk(folder: Path, num_bytes: int) -> None:
    """Refuse what does not fit on the disk that holds the folder.

    Raises:
        OSError: there is not enough space, as if it had been tried.
    """
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        message = f"the images take {num_bytes} bytes, and the disk has {free} left"
        raise OSError(errno.ENOSPC, message)


class UnreadableFiles:
    """The unreadable files of one source, of which so many are allowed."""

    def __init__(self, max_files: int = 0) -> None:
        self._max_files = max_files
        self.count = 0
        self.problems: list[str] = []  # "name: problem" of the first ones

    def add(self, name: str, problem: str) -> None:
        """Note one file."""
        self.count += 1
        if len(self.problems) < MAX_KEPT_FILES:
            self.problems.append(shown(f"{name}: {problem}"))

    def check(self) -> None:
        """Refuse the source if there are more than allowed.

        Raises:
            InvalidDataset: with the names of the first ones and the count.
        """
        if self.count <= self._max_files:
            return
        listed = "; ".join(self.problems[:MAX_REPORTED_FILES])
        rest = self.count - MAX_REPORTED_FILES
        more = f"; and {rest} more files" if rest > 0 else ""
        raise InvalidDataset(
            f"source.path: {listed}{more} ({self.count} unreadable, {self._max_files} allowed)"
        )
