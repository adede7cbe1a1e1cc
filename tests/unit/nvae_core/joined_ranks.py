"""Work that several ranks do together in a test, each in a process of its own."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp

from nvae_core.config import RankPolicy
from nvae_core.distributed import Ranks, join_ranks, limit_threads


def together(
    work: Callable[[Ranks], Any], folder: Path, *, world_size: int, num_nodes: int = 1
) -> list[Any]:
    """Return what the work returned on each rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_join, (work, str(folder), world_size, num_nodes, port), nprocs=world_size)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(world_size)]


def _join(
    rank: int,
    work: Callable[[Ranks], Any],
    folder: str,
    world_size: int,
    num_nodes: int,
    port: int,
) -> None:
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE=str(world_size),
        GROUP_RANK=str(rank * num_nodes // world_size),
        GROUP_WORLD_SIZE=str(num_nodes),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    limit_threads()
    with join_ranks(RankPolicy()) as ranks:
        torch.save(work(ranks), Path(folder, f"{rank}.pt"))
