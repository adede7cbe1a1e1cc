"""How much memory a process takes."""

import re
from pathlib import Path


def resident_mebibytes(pid: int, *, peak: bool = False) -> float:
    """Return the resident memory of a process; or the most it has had since it started.

    What getrusage says of that begins with the process's parent.
    """
    name = "VmHWM" if peak else "VmRSS"
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return round(int(found[1]) / 1024, 1)
