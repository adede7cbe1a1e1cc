"""Activation checkpointing: what is inside a cell is computed again in the backward pass.

Not the statistics of its batch norms: they are kept, so that no collective is repeated, and they
enter the running statistics once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_tape: "_Tape | None" = None


class RecomputedSequential(nn.Sequential):
    """Modules that follow each other; if asked to, each keeps nothing but its input."""

    is_recomputed = False

    def forward(self, x: Tensor) -> Tensor:
        """Map x through all of them."""
        for module in self:
            x = _recomputed(module, x) if self.is_recomputed else module(x)
        return x


def recompute_cells(model: nn.Module) -> None:
    """Let all cells and flows of a model be computed again in the backward pass."""
    for module in model.modules():
        if isinstance(module, RecomputedSequential):
            module.is_recomputed = True


def measured_once(measure: Callable[[], Tensor]) -> Tensor:
    """Return what is measured, in a recomputation what was measured the first time."""
    return measure() if _tape is None else _tape.take(measure)


def _recomputed(module: nn.Module, x: Tensor) -> Tensor:
    if not (torch.is_grad_enabled() and module.training):
        return cast(Tensor, module(x))
    tape = _Tape()
    y: Tensor = checkpoint(
        module,
        x,
        use_reentrant=False,
        preserve_rng_state=False,  # noise is an input
        context_fn=lambda: (_using(tape), _replaying(tape, module)),
    )
    return y


class _Tape:
    """What a module measured in its forward pass, in order."""

    def __init__(self) -> None:
        self.measured: list[Tensor] = []
        self.position: int | None = None  # None while recording

    def take(self, measure: Callable[[], Tensor]) -> Tensor:
        """Measure, or return the next of what was measured."""
        if self.position is None:
            self.measured.append(measure())
            return self.measured[-1]
        self.position += 1
        return self.measured[self.position - 1]


@contextmanager
def _using(tape: _Tape) -> Iterator[None]:
    global _tape  # noqa: PLW0603 - what is measured lies deep in the module
    _tape, before = tape, _tape
    try:
        yield
    finally:
        _tape = before


@contextmanager
def _replaying(tape: _Tape, module: nn.Module) -> Iterator[None]:
    tape.position = 0
    buffers = [
        (owner, name, buffer)
        for owner in module.modules()
        for name, buffer in owner.named_buffers(recurse=False)
        if name.startswith("running_")
    ]
    for owner, name, buffer in buffers:  # they have been updated already
        setattr(owner, name, torch.empty_like(buffer))
    try:
        with _using(tape):
            yield
    finally:
        for owner, name, buffer in buffers:
            setattr(owner, name, buffer)
