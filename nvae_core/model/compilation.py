"""Compiling cells, flows and heads: each kind once, for all modules of that kind."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import nn

from nvae_core.model.cells import ResidualCell
from nvae_core.model.encoder import PosteriorHead
from nvae_core.model.flows import AutoregressiveTransform

Objective = TypeVar("Objective", bound=Callable[..., Any])
COMPILED = (ResidualCell, AutoregressiveTransform, PosteriorHead)


class CannotCompile(RuntimeError):
    """This machine has not what torch.compile needs."""


def compile_objective(objective: Objective, *, backend: str = "inductor") -> Objective:
    """Return the same function, compiled at its first use."""
    return cast(Objective, torch.compile(objective, backend=backend, dynamic=False))


def compile_modules(model: nn.Module, *, backend: str = "inductor") -> None:
    """Let torch compile parts of a model at their first use; names in it do not change.

    Raises:
        CannotCompile: there is no compiler for this device.
    """
    device = next(model.parameters()).device
    try:
        torch.compile(lambda x: x + 1, backend=backend)(torch.zeros(2, device=device))
    except (RuntimeError, OSError) as error:
        raise CannotCompile(f"torch.compile does not work here: {error}") from error
    parts = [module for module in model.modules() if isinstance(module, COMPILED)]
    # All share the code of nn.Module, so each counts as one more version of it; as two where it
    # is computed again by what it measured over the ranks.
    num_versions = 2 * len(parts)
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, num_versions)
    for part in parts:
        part.compile(backend=backend, dynamic=False)
