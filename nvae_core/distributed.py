"""The ranks of one training run: joining them, and the sums and means they take together."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from nvae_core.config import RankPolicy, StatisticsScope

T = TypeVar("T")

_node_group: dist.ProcessGroup | None = None  # None where there is one node only
BUCKET_BYTES = 25 * 2**20  # of gradients that are summed at a time


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together, and the device it computes on."""

    rank: int
    world_size: int
    device: torch.device
    local_rank: int = 0  # among those of its node

    @property
    def is_first(self) -> bool:
        """Whether this rank is the one that writes files."""
        return self.rank == 0

    @property
    def is_first_of_node(self) -> bool:
        """Whether this rank is the one that checks files for all ranks of its node."""
        return self.local_rank == 0


class RanksMissing(RuntimeError):
    """Not all ranks joined in time."""


class NoGPU(RuntimeError):
    """A GPU was promised, and torch sees none."""


@contextmanager
def join_ranks(policy: RankPolicy) -> Iterator[Ranks]:
    """Join the ranks that torchrun started, or be the only one; at the end leave together.

    Raises:
        RanksMissing: a rank did not join in time.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    device = choose_device()
    ranks = Ranks(own_rank(), world_size, device, _local_rank())
    if world_size == 1:
        yield ranks
        return
    _join(device, policy)
    try:
        yield ranks
    except BaseException:
        # No barrier: the others would fail too, and might be the first to say why. NCCL would
        # wait for them at the end of this process, for collectives that never come.
        if device.type == "cuda":
            dist.distributed_c10d._abort_process_group()
        raise
    dist.barrier()  # rank 0 is still writing files
    dist.destroy_process_group()


def _join(device: torch.device, policy: RankPolicy) -> None:
    limit = timedelta(seconds=policy.join_timeout_seconds)
    # Longer than a stall may last: whoever watches for stalls can say more than a collective.
    timeout = timedelta(seconds=2 * policy.stall_timeout_seconds)
    try:
        store, rank, num_ranks = next(iter(rendezvous("env://", timeout=limit)))
        store.set(f"joined/{rank}", "")
        store.wait([f"joined/{other}" for other in range(num_ranks)], limit)
        is_cuda = device.type == "cuda"
        dist.init_process_group(
            "nccl" if is_cuda else "gloo",
            store=store,
            rank=rank,
            world_size=num_ranks,
            timeout=timeout,
            device_id=device if is_cuda else None,
        )
        _form_node_groups(timeout)
    except RuntimeError as error:
        raise RanksMissing(
            f"not all ranks joined within {policy.join_timeout_seconds:g} seconds; "
            f"the log of the missing one may say why: {error}"
        ) from error


def _form_node_groups(timeout: timedelta) -> None:
    """Let the ranks of each node take means of their own, where there are several nodes."""
    global _node_group  # noqa: PLW0603 - torch keeps the other group in the same way
    _node_group = None
    if os.environ.get("GROUP_WORLD_SIZE", "1") == "1":
        return
    own_node = int(os.environ["GROUP_RANK"])
    nodes = [0] * dist.get_world_size()
    dist.all_gather_object(nodes, own_node)
    for node in sorted(set(nodes)):
        members = [rank for rank, its_node in enumerate(nodes) if its_node == node]
        group = dist.new_group(members, timeout=timeout)
        if node == own_node:
            _node_group = group


def own_rank() -> int:
    """Return the rank that torchrun gave this process; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def choose_device() -> torch.device:
    """Return this rank's GPU where there is one, else the CPU; NVAE_DEVICE says which of them.

    Raises:
        NoGPU: NVAE_DEVICE is `cuda`, and torch sees no GPU, or fewer than there are local ranks.
        ValueError: NVAE_DEVICE is something else than `cuda` or `cpu`.
    """
    promised = os.environ.get("NVAE_DEVICE")
    if promised not in {None, "cuda", "cpu"}:
        raise ValueError(f"NVAE_DEVICE: is {promised!r}, and not 'cuda' or 'cpu'")
    if promised == "cpu" or (promised is None and not torch.cuda.is_available()):
        return torch.device("cpu")
    local_rank = _local_rank()
    if not torch.cuda.is_available() or local_rank >= torch.cuda.device_count():
        raise NoGPU(_describe_cuda(local_rank))
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


def prepare_device(*, deterministic: bool = True) -> None:
    """Say how GPUs are to compute, before the first of them is used; a CPU does so anyhow.

    float32 means float32: TF32 has the range of it, and 10 bits.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # Sums by the switches of a Hopper node differ from one call to the next.
        os.environ.setdefault("NCCL_ALGO", "^NVLS")


def _describe_cuda(local_rank: int) -> str:
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    problem = ""
    try:
        torch.cuda.current_device()
    except (RuntimeError, AssertionError) as error:  # as its own words say more
        problem = f": {error}"
    return (
        f"a GPU was promised to local rank {local_rank}, but torch {torch.__version__} "
        f"({f'for CUDA {torch.version.cuda}' if torch.version.cuda else 'without CUDA'}) sees "
        f"{num_gpus or 'no'} GPU{'s' if num_gpus > 1 else ''}; CUDA_VISIBLE_DEVICES is "
        f"{'not set' if visible is None else repr(visible)}{problem}"
    )


def limit_threads() -> None:
    """Compute on OMP_NUM_THREADS threads, one where it is not set.

    On a busy machine a second thread slows training down many times: threads wait by spinning.
    """
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def compute_on_one_thread() -> None:
    """Compute on one thread, whatever is set: what is computed must not depend on their number.

    Sums of torch are of as many parts as there are threads.
    """
    torch.set_num_threads(1)


def world_size(scope: StatisticsScope = "all_ranks") -> int:
    """Return the number of ranks that joined, or of those within the scope; 1 where none did."""
    if scope == "local" or not dist.is_initialized():
        return 1
    return dist.get_world_size(_group_of(scope))


def sum_over_ranks(values: Tensor, scope: StatisticsScope = "all_ranks") -> Tensor:
    """Return the sum of a tensor over the ranks; the same bits on each of them."""
    if world_size(scope) == 1:
        return values.clone()
    total = values.clone()
    dist.all_reduce(total, group=_group_of(scope))
    return total


def gather_over_ranks(values: Tensor, scope: StatisticsScope = "all_ranks") -> Tensor:
    """Return the tensors of all ranks, (world size, ...); the same bits on each of them."""
    if world_size(scope) == 1:
        return values[None].clone()
    # A sum in which each rank has a row of its own: one collective on every backend.
    group = _group_of(scope)
    rows = values.new_zeros((world_size(scope), *values.shape))
    rows[dist.get_rank(group)] = values
    dist.all_reduce(rows, group=group)
    return rows


def take_from_first_rank(value: T) -> T:
    """Return what rank 0 gave, on all ranks; what the others gave is not looked at."""
    values = [value]
    if world_size() > 1:
        dist.broadcast_object_list(values, src=0)
    return values[0]


def average_over_ranks(tensors: Sequence[Tensor]) -> None:
    """Replace the tensors by their means over the ranks, with one collective."""
    if world_size() == 1:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    flat = sum_over_ranks(flat) / world_size()
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view(tensor.shape))


def average_gradients(flat: Tensor) -> None:
    """Replace the gradients of a model, in one tensor, by their means over the ranks.

    Buckets are laid out by the size alone: the order of summation is the same at each step, and
    in a run that is resumed.
    """
    if world_size() == 1:
        return
    buckets = torch.split(flat, BUCKET_BYTES // flat.element_size())
    works = [dist.all_reduce(bucket, async_op=True) for bucket in buckets]
    for work in works:
        assert work is not None
        work.wait()
    flat /= world_size()


def _group_of(scope: StatisticsScope) -> dist.ProcessGroup | None:
    return _node_group if scope == "per_node" else None
