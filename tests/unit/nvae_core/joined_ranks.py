"""Work that several ranks do together in a test, each in a process of its own.

`python joined_ranks.py FOLDER WORLD_SIZE NUM_NODES` does what is pickled in the folder.
"""

import os
import pickle
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked_programs
import torch
import torch.multiprocessing as mp

from nvae_core.config import RankPolicy
from nvae_core.distributed import Ranks, join_ranks, limit_threads


def together(
    work: Callable[[Ranks], Any], folder: Path, *, world_size: int, num_nodes: int = 1
) -> list[Any]:
    """Return what the work returned on each rank."""
    (folder / "work.pickle").write_bytes(pickle.dumps(work))
    done = forked_programs.run("joined_ranks", folder, world_size, num_nodes)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(world_size)]


def main() -> None:
    folder, (world_size, num_nodes) = Path(sys.argv[1]), map(int, sys.argv[2:])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update(
        WORLD_SIZE=str(world_size),
        GROUP_WORLD_SIZE=str(num_nodes),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    work = pickle.loads((folder / "work.pickle").read_bytes())
    mp.start_processes(_join, (work, folder), nprocs=world_size, start_method="fork")


def _join(rank: int, work: Callable[[Ranks], Any], folder: Path) -> None:
    node = rank * int(os.environ["GROUP_WORLD_SIZE"]) // int(os.environ["WORLD_SIZE"])
    os.environ.update(RANK=str(rank), GROUP_RANK=str(node))
    limit_threads()
    with join_ranks(RankPolicy()) as ranks:
        torch.save(work(ranks), folder / f"{rank}.pt")


if __name__ == "__main__":
    main()
