"""One quantity, computed by us and by the published implementation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

BOUND = 1e-4
Values = Tensor | npt.NDArray[np.generic] | Sequence[float]


@dataclass(frozen=True)
class Comparison:
    """The largest relative error of one quantity, and what it may be at most."""

    quantity: str
    error: float
    bound: float = BOUND

    @property
    def is_within(self) -> bool:
        """Whether the error is within its bound; an error that is no number is not."""
        return self.error <= self.bound


def compare(
    quantity: str,
    ours: Values,
    reference: Values,
    *,
    scale: Values | None = None,
    bound: float = BOUND,
) -> Comparison:
    """Compare two arrays of one shape, in float64.

    The error is the largest difference over `scale`, which is by default the largest absolute
    value of the reference; arrays of different shapes have an infinite error.
    """
    a, b = _as_double(ours), _as_double(reference)
    if a.shape != b.shape:
        return Comparison(quantity, float("inf"), bound)
    if a.numel() == 0:
        return Comparison(quantity, 0.0, bound)
    scales = b.abs().max() if scale is None else _as_double(scale)
    errors = (a - b).abs() / scales.clamp_min(torch.finfo(torch.float64).tiny)
    error = float("inf") if errors.isnan().any() else errors.max().item()
    return Comparison(quantity, error, bound)


def compare_each(quantity: str, ours: Values, reference: Values) -> Comparison:
    """Compare numbers that are quantities of their own: each error relative to its reference."""
    return compare(quantity, ours, reference, scale=_as_double(reference).abs())


def exactly(quantity: str, ours: Values, reference: Values) -> Comparison:
    """Compare numbers that must be equal."""
    return compare(quantity, ours, reference, bound=0.0)


def worst_of_each(comparisons: Sequence[Comparison]) -> Mapping[str, Comparison]:
    """Return the comparison of the largest error for each quantity, in order of appearance."""
    worst: dict[str, Comparison] = {}
    for comparison in comparisons:
        known = worst.get(comparison.quantity)
        if known is None or not comparison.error <= known.error:
            worst[comparison.quantity] = comparison
    return worst


def _as_double(values: Values) -> Tensor:
    return (
        torch.as_tensor(np.asarray(values) if not isinstance(values, Tensor) else values)
        .to(dtype=torch.float64)
        .detach()
    )
