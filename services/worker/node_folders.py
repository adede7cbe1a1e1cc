"""Which node a container is: its folder is taken with a lock, and the node's name follows from it.

So a node keeps its name, its cache and its logs when its container is replaced, and several
containers that share one volume never are the same node.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

LOCK_NAME = "container.lock"
MAX_NODES = 1000


@dataclass(frozen=True)
class TakenNode:
    """A node that is this process' for as long as it lives."""

    name: str
    folder: Path
    lock: int  # file descriptor


def take_node(nodes_folder: Path, name: str) -> TakenNode:
    """Take the first node that no other container holds.

    Raises:
        OSError: the folder cannot be written, or all its nodes are taken.
    """
    for number in range(1, MAX_NODES + 1):
        folder = nodes_folder / f"{name}-{number}"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        return TakenNode(folder.name, folder, lock)
    raise OSError(f"all {MAX_NODES} nodes in {nodes_folder} are taken")
