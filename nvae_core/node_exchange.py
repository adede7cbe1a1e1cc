"""Sums and lists over the ranks of one machine, through memory that they share.

The statistics of each batch norm are summed over the ranks, twice per step: small tensors, for
which the messages of gloo take longer than all else.
"""

import mmap
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nvae_core.kernels.library import find_library, library

FOLDER = Path("/dev/shm")  # noqa: S108 - files in memory, made by mkstemp
SLOT_SIZE = 2**16  # floats
CACHE_LINE = 64  # bytes


class RankSilent(RuntimeError):
    """A rank did not take part in a sum in time."""


@dataclass
class NodeExchange:
    """Memory that the ranks of one machine share; all of them do the same with it, in order."""

    memory: Tensor  # bytes
    rank: int
    num_ranks: int
    patience_seconds: float
    num_rounds: int = 0

    def add(self, values: Tensor) -> Tensor:
        """Return the sum of float32 values over the ranks; the same bits on each of them.

        Raises:
            RankSilent: a rank did not come in time.
        """
        return self._exchange(values, torch.empty_like(values), is_sum=True)

    def gather(self, values: Tensor) -> Tensor:
        """Return the float32 values of all ranks, (ranks, ...).

        Raises:
            RankSilent: a rank did not come in time.
        """
        results = values.new_empty((self.num_ranks, *values.shape))
        return self._exchange(values, results, is_sum=False)

    def _exchange(self, values: Tensor, results: Tensor, *, is_sum: bool) -> Tensor:
        rounds = library().exchange(
            *(self.memory.data_ptr(), self.rank, self.num_ranks, SLOT_SIZE, self.num_rounds),
            *(values.data_ptr(), results.data_ptr(), values.numel(), is_sum),
            self.patience_seconds,
        )
        if rounds < 0:
            raise RankSilent(f"rank {-1 - rounds} was silent for {self.patience_seconds:g} seconds")
        self.num_rounds = rounds
        return results


def can_exchange(values: Tensor) -> bool:
    """Whether these values can be summed through shared memory."""
    return values.dtype == torch.float32 and values.is_cpu and values.is_contiguous()


def open_exchange(
    rank: int,
    num_ranks: int,
    *,
    share_name: Callable[[str], str],
    wait_for_all: Callable[[], None],
    patience_seconds: float,
) -> NodeExchange | None:
    """Open memory that the ranks, which are all on this machine, share; None if there is no way.

    `share_name` gives all ranks what the first one passes; `wait_for_all` returns when all have
    called it.
    """
    size = num_ranks * (CACHE_LINE + 2 * SLOT_SIZE * 4)
    name = share_name(_create(size) if rank == 0 else "")
    if not name:
        return None
    with open(name, "r+b") as file:
        mapped = mmap.mmap(file.fileno(), size)
    wait_for_all()
    if rank == 0:
        Path(name).unlink()  # the memory lives as long as it is mapped
    memory = torch.frombuffer(mapped, dtype=torch.uint8)
    return NodeExchange(memory, rank, num_ranks, patience_seconds)


def _create(size: int) -> str:
    """Return the name of a file of zeros in memory; empty where that cannot be."""
    if find_library() is None or not os.access(FOLDER, os.W_OK):
        return ""
    try:
        descriptor, name = tempfile.mkstemp(prefix="nvae-", dir=FOLDER)
        with open(descriptor, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)  # fails here, not at the first use
    except OSError:
        return ""
    return name
