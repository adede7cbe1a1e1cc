"""Whether a container's worker is there: `python -m services.worker.health` exits 0 if it is."""

from pathlib import Path

from services.processes import is_locked

NODE = Path("/proc/1/cwd")  # the container's first process works in the node's data folder


def check(node: Path = NODE) -> str | None:
    """Return what is wrong, or None."""
    return None if is_locked(node / "worker.lock") else "the worker is not running"


if __name__ == "__main__":
    raise SystemExit(check())
