"""How the C library treats memory that training frees, only to need it again."""

import ctypes

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
