"""Why a file of another program is not read."""

from collections.abc import Iterator
from contextlib import contextmanager

MAX_SHOWN_CHARACTERS = 200


class Refusal(Exception):
    """A file is not read; the message says why and is completed by the file's name in front."""


@contextmanager
def refuse_damage(part: str) -> Iterator[None]:
    """Turn whatever a parser raises for this part of a file into a `Refusal`."""
    try:
        yield
    except (Refusal, OSError):
        raise
    # A parser of hostile bytes fails in every way there is, RecursionError and MemoryError too.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise Refusal(f"{part} is damaged or cut off ({shown(reason)})") from error


def shown(text: str) -> str:
    """Make text from a file fit for a message: short, and without control characters."""
    return "".join(c if c.isprintable() else "?" for c in text[:MAX_SHOWN_CHARACTERS])
