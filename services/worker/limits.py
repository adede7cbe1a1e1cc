"""What this process may use of its machine: a container has less than the machine it runs on."""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")  # of version 2, as a container sees its own


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Return the cores that may be used, one at least, rounded down."""
    num_cores = len(os.sched_getaffinity(0))
    match _read(cgroup / "cpu.max"):
        case [quota, period] if quota != "max":
            return max(1, min(num_cores, int(quota) // int(period)))
    return num_cores


def usable_memory_bytes(cgroup: Path = CGROUP) -> int:
    """Return the bytes of memory that may be used."""
    num_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    match _read(cgroup / "memory.max"):
        case [limit] if limit != "max":
            return min(num_bytes, int(limit))
    return num_bytes


def _read(path: Path) -> list[str]:
    """Return the words of a file; none where it is not there."""
    try:
        return path.read_text().split()
    except OSError:
        return []
