"""How memory is treated that training frees, only to need it again."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Numbers that mallopt of the GNU C library gives its settings.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 2**25  # that mallopt accepts


def keep_freed_memory() -> None:
    """Keep freed memory in this process, where the C library is GNU's.

    Otherwise what one step frees is given back to the system, and each page that the next step
    touches is cleared and mapped again: a twentieth of a training step on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(TRIM_THRESHOLD, 2**31 - 1)
        mallopt(MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)


@contextmanager
def undisturbed_by_collection() -> Iterator[None]:
    """Let the garbage collector not look through what is there already, again and again."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
