"""Activation checkpointing: what is inside a cell is computed again in the backward pass.

Not the statistics that its batch norms share with other ranks: they are kept, so that no
collective is repeated.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_record: "_Record | None" = None


class CheckpointedSequential(nn.Sequential):
    """Modules that follow each other; if asked to, each keeps nothing but its input."""

    is_checkpointed = False

    def forward(self, x: Tensor) -> Tensor:
        """Map x through all of them."""
        for module in self:
            x = _checkpointed(module, x) if self.is_checkpointed else module(x)
        return x


def checkpoint_activations(model: nn.Module) -> None:
    """Let all cells and flows of a model be computed again in the backward pass."""
    for module in model.modules():
        if isinstance(module, CheckpointedSequential):
            module.is_checkpointed = True


def measured_once(measure: Callable[[], Tensor]) -> Tensor:
    """Return what is measured, in a recomputation what was measured the first time."""
    return measure() if _record is None else _record.take(measure)


def _checkpointed(module: nn.Module, x: Tensor) -> Tensor:
    if not (torch.is_grad_enabled() and module.training):
        return cast(Tensor, module(x))
    record = _Record()
    y: Tensor = checkpoint(
        module,
        x,
        use_reentrant=False,
        preserve_rng_state=False,  # noise is an input
        context_fn=lambda: (_using(record), _using(record, is_replay=True)),
    )
    return y


class _Record:
    """What a module measured in its forward pass, in order."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.position: int | None = None  # None while recording

    def take(self, measure: Callable[[], Tensor]) -> Tensor:
        """Measure, or return the next of what was measured."""
        if self.position is None:
            self.tensors.append(measure())
            return self.tensors[-1]
        self.position += 1
        return self.tensors[self.position - 1]


@contextmanager
def _using(record: _Record, *, is_replay: bool = False) -> Iterator[None]:
    global _record  # noqa: PLW0603 - what is measured lies deep in the module
    if is_replay:
        record.position = 0
    _record, before = record, _record
    try:
        yield
    finally:
        _record = before
