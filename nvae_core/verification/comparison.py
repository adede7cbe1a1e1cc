"""One quantity, computed by us and by the published implementation, and the reference's files."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nvae_core.importing.published import read_published
from nvae_core.model.nvae import NVAE
from nvae_core.training.state import TrainingState

BOUND = 1e-4
Array = npt.NDArray[np.generic]
Values = Tensor | Array | Sequence[float]


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


class InvalidFixture(ValueError):
    """A file of reference numbers cannot be read; the message names it and says why."""


@dataclass(frozen=True)
class Fixture:
    """The reference numbers of one model, and the checkpoint that they belong to."""

    checkpoint: Path
    arrays: Mapping[str, Array]

    def load(self) -> TrainingState:
        """Return the checkpoint's model, in evaluation mode, with its optimizer.

        Raises:
            ForeignCheckpoint: the file cannot be used.
        """
        state = read_published(self.checkpoint).state
        state.model.eval()
        return state

    def tensor(self, name: str) -> Tensor:
        """Return one array.

        Raises:
            InvalidFixture: it is missing.
        """
        try:
            return torch.from_numpy(self.arrays[name].copy())
        except KeyError:
            raise InvalidFixture(f"{self.checkpoint.stem}.npz: {name} is missing") from None

    def compare(self, name: str, ours: Values) -> Comparison:
        """Compare with the array of that name."""
        return compare(name, ours, self.tensor(name))

    def compare_each(self, name: str, ours: Values) -> Comparison:
        """Compare with the array of that name, whose numbers are quantities of their own."""
        return compare_each(name, ours, self.tensor(name))

    def exactly(self, name: str, ours: Values) -> Comparison:
        """Compare with the array of that name, which must be equal."""
        return exactly(name, ours, self.tensor(name))

    def per_group(self, name: str, model: NVAE) -> list[Tensor]:
        """Return one array per latent group, top first: `name_00`, `name_01`, …"""
        return [self.tensor(f"{name}_{group.index:02d}") for group in model.hierarchy.groups]


def read_arrays(path: Path) -> dict[str, Array]:
    """Read all arrays of an `.npz` file; nothing in it is executed.

    Raises:
        InvalidFixture: it is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidFixture(f"{path}: {error}") from error
