"""Means of the gradients over the ranks, taken while the backward pass goes on.

Gradients are copied into buckets, whose layout is a function of the model alone: the order of
summation is the same at each step, and in a run that is resumed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nvae_core.distributed import sum_over_ranks, world_size
from nvae_core.model.convolutions import WeightNormConv2d

BUCKET_BYTES = 25 * 2**20


class GradientAverager:
    """Averages the gradients of a model over all ranks; alone, it does nothing."""

    def __init__(self, model: nn.Module, *, bucket_bytes: int = BUCKET_BYTES) -> None:
        self._buckets: list[_Bucket] = []
        self._works: list[dist.Work] = []
        self._is_last_backward = False
        if world_size() == 1:
            return
        self._buckets = _fill_buckets(in_order_of_readiness(model), bucket_bytes)
        for bucket in self._buckets[:-1]:  # the last one waits for the end in any case
            for parameter in bucket.parameters:
                parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                    partial(self._count, bucket)
                )

    @contextmanager
    def last_backward(self) -> Iterator[None]:
        """Take gradients as complete when they appear; for the last backward pass of a step."""
        self._works = []
        for bucket in self._buckets:
            bucket.num_missing = len(bucket.parameters)
        self._is_last_backward = True
        try:
            yield
        finally:
            self._is_last_backward = False

    def finish(self, others: Sequence[Tensor]) -> None:
        """Replace all gradients by their means over the ranks, and other tensors with them."""
        if not self._buckets:
            return
        self._launch_until(len(self._buckets) - 1)
        last = self._buckets[-1]
        last.fill()
        # Whatever else the ranks must agree on rides on this reduction.
        flat = torch.cat([last.buffer, *(tensor.reshape(-1) for tensor in others)])
        sizes = [len(last.buffer), *(tensor.numel() for tensor in others)]
        means = torch.split(sum_over_ranks(flat) / world_size(), sizes)
        for tensor, mean in zip([last.buffer, *others], means, strict=True):
            tensor.copy_(mean.view(tensor.shape))
        for bucket, work in zip(self._buckets, self._works, strict=False):
            work.wait()
            bucket.buffer /= world_size()
        for bucket in self._buckets:
            bucket.give_back()

    def _count(self, bucket: "_Bucket", _parameter: nn.Parameter) -> None:
        if not self._is_last_backward:
            return
        bucket.num_missing -= 1
        num_ready = len(self._works)
        while num_ready < len(self._buckets) - 1 and self._buckets[num_ready].num_missing == 0:
            num_ready += 1
        self._launch_until(num_ready)

    def _launch_until(self, end: int) -> None:
        """Begin to sum the buckets before this one; all ranks do so in the same order."""
        for bucket in self._buckets[len(self._works) : end]:
            bucket.fill()
            work = dist.all_reduce(bucket.buffer, async_op=True)
            assert work is not None
            self._works.append(work)


@dataclass
class _Bucket:
    """Parameters whose gradients are summed together, one after the other in the buffer."""

    parameters: list[nn.Parameter]
    buffer: Tensor
    num_missing: int = 0
    views: list[Tensor] = field(init=False)  # of the buffer, one for each parameter

    def __post_init__(self) -> None:
        self.views, offset = [], 0
        for parameter in self.parameters:
            self.views.append(self.buffer.as_strided(parameter.shape, parameter.stride(), offset))
            offset += parameter.numel()

    def fill(self) -> None:
        """Copy the gradients into the buffer."""
        present = {
            view: parameter.grad
            for parameter, view in zip(self.parameters, self.views, strict=True)
            if parameter.grad is not None
        }
        if len(present) < len(self.parameters):
            self.buffer.zero_()
        torch._foreach_copy_(list(present), list(present.values()))

    def give_back(self) -> None:
        """Let the gradients be what is in the buffer."""
        for parameter, view in zip(self.parameters, self.views, strict=True):
            if parameter.grad is not None:
                parameter.grad = view


def in_order_of_readiness(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters about as the backward pass completes their gradients.

    The weights that are held come last: they were normalized before all else.
    """
    late = {
        parameter
        for module in model.modules()
        if isinstance(module, WeightNormConv2d)
        for parameter in (module.weight, module.log_weight_norm)
    }
    backwards = list(model.parameters())[::-1]
    return sorted(backwards, key=lambda parameter: parameter in late)


def _fill_buckets(parameters: Sequence[nn.Parameter], bucket_bytes: int) -> list[_Bucket]:
    parts: list[list[nn.Parameter]] = [[]]
    room = bucket_bytes
    for parameter in parameters:
        if parameter.nbytes > room and parts[-1]:
            parts.append([])
            room = bucket_bytes
        parts[-1].append(parameter)
        room -= parameter.nbytes
    return [
        _Bucket(part, part[0].new_zeros(sum(parameter.numel() for parameter in part)))
        for part in parts
    ]
