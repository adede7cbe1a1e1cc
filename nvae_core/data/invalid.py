"""The failure that ends a run when its images cannot be used."""

from collections.abc import Iterator
from contextlib import contextmanager

from nvae_core.run_directory import is_disk_full

MAX_SHOWN_CHARACTERS = 200


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
