"""Single cells and autoregressive masks: `masks_cells.npz`."""

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from nvae_core.architecture import (
    RES_BNELU,
    RES_BNSWISH,
    RES_ELU,
    Cell,
    CellKind,
    Direction,
    InvertedResidual,
    TwoConvolutions,
)
from nvae_core.interop.pairing import PairedTensor, paired_tensors_of_cell
from nvae_core.model.cells import ResidualCell
from nvae_core.model.convolutions import autoregressive_mask
from nvae_core.verification.comparison import Comparison, compare, exactly
from nvae_core.verification.fixture import Array, InvalidFixture

MASK_NAME = re.compile(r"mask_k(\d+)_in(\d+)_g(\d+)_out(\d+)_zd([01])_mirror([01])")
INVERTED_RESIDUAL_NAME = re.compile(r"mconv_e(\d+)k(\d+)g(\d+)")
TWO_CONVOLUTIONS: Mapping[str, CellKind] = {
    "res_bnswish": RES_BNSWISH,
    "res_bnswish5": TwoConvolutions(dilations=(2, 1)),  # the reference dilates the first only
    "res_bnelu": RES_BNELU,
    "res_elu": RES_ELU,
}
DIRECTIONS: Mapping[str, Direction] = {"normal_x": "same", "down_x": "down", "up_x": "up"}


def compare_masks(arrays: Mapping[str, Array]) -> Iterator[Comparison]:
    """Compare every mask, by the numbers in its name."""
    for name, reference in arrays.items():
        found = MASK_NAME.fullmatch(name)
        if found is None:
            continue
        kernel_size, in_channels, groups, out_channels, strict, mirrored = map(int, found.groups())
        mask = autoregressive_mask(
            in_channels,
            out_channels,
            kernel_size,
            groups=groups,
            strict=bool(strict),
            mirrored=bool(mirrored),
        )
        yield exactly(name, mask, reference)


def compare_cells(arrays: Mapping[str, Array]) -> Iterator[Comparison]:
    """Compare every cell: its output in training, then its statistics, then its evaluation."""
    names = dict.fromkeys("/".join(name.split("/")[:3]) for name in arrays if "cell/" in name)
    for name in names:
        own = {
            key.removeprefix(f"{name}/"): torch.from_numpy(array.copy())
            for key, array in arrays.items()
            if key.startswith(f"{name}/")
        }
        yield from _compare_cell(name, own)


@torch.no_grad()
def _compare_cell(name: str, arrays: Mapping[str, Tensor]) -> Iterator[Comparison]:
    _, primitive, direction = name.split("/")
    x = arrays["x"]
    plan = Cell(_kind(name, primitive), DIRECTIONS[direction], x.shape[1], x.shape[2])
    cell = ResidualCell(plan, squeeze_excitation="state/se.se.0.weight" in arrays)
    pairs = list(paired_tensors_of_cell(cell, plan))
    for pair in pairs:
        pair.tensor.copy_(_find(arrays, f"state/{pair.published}", name))
    yield compare(f"{name}/y_train", cell.train()(x), arrays["y_train"])
    for pair in pairs:
        yield from _compare_statistic(name, pair, arrays)
    yield compare(f"{name}/y_eval_after", cell.eval()(x), arrays["y_eval_after"])


def _compare_statistic(
    name: str, pair: PairedTensor, arrays: Mapping[str, Tensor]
) -> Iterator[Comparison]:
    reference = arrays.get(f"after/{pair.published}")
    if reference is not None:
        yield compare(f"{name}/after", pair.tensor, reference)


def _kind(name: str, primitive: str) -> CellKind:
    found = INVERTED_RESIDUAL_NAME.fullmatch(primitive)
    if found is not None:
        expansion, kernel_size, groups = map(int, found.groups())
        return InvertedResidual(expansion, kernel_size, groups or None)
    try:
        return TWO_CONVOLUTIONS[primitive]
    except KeyError:
        raise InvalidFixture(f"{name}: there is no kind of cell {primitive!r}") from None


def _find(arrays: Mapping[str, Tensor], key: str, name: str) -> Tensor:
    try:
        return arrays[key]
    except KeyError:
        raise InvalidFixture(f"{name}: {key} is missing") from None
