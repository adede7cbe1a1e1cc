"""Masks and single cells (`masks_cells.npz`), and rules of one number each (`tables.json`)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

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
    build_hierarchy,
)
from nvae_core.config import ModelConfig
from nvae_core.data.preprocess import reduce_bit_depth
from nvae_core.importing.arguments import groups_per_scale
from nvae_core.importing.names import paired_tensors_of_cell
from nvae_core.losses import balance_kl
from nvae_core.model.batch_norm import RunningStatistics
from nvae_core.model.cells import ResidualCell
from nvae_core.model.convolutions import autoregressive_mask
from nvae_core.model.distributions import published_bin_log_prob
from nvae_core.training.schedules import kl_weight, spectral_weight
from nvae_core.verification.comparison import (
    Array,
    Comparison,
    InvalidFixture,
    compare,
    compare_each,
    exactly,
)

MASK_NAME = re.compile(r"mask_k(\d+)_in(\d+)_g(\d+)_out(\d+)_zd([01])_mirror([01])")
INVERTED_RESIDUAL_NAME = re.compile(r"mconv_e(\d+)k(\d+)g(\d+)")
TWO_CONVOLUTIONS: Mapping[str, CellKind] = {
    "res_bnswish": RES_BNSWISH,
    "res_bnswish5": TwoConvolutions(dilations=(2, 1)),  # the reference dilates the first only
    "res_bnelu": RES_BNELU,
    "res_elu": RES_ELU,
}
DIRECTIONS: Mapping[str, Direction] = {"normal_x": "same", "down_x": "down", "up_x": "up"}
PUBLISHED_BALANCING = "square"  # of the four rules in the table, the one of published training


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
    running_statistics = RunningStatistics(cell)
    pairs = list(paired_tensors_of_cell(cell, plan))
    for pair in pairs:
        key = f"state/{pair.published}"
        if key not in arrays:
            raise InvalidFixture(f"{name}: {key} is missing")
        pair.tensor.copy_(arrays[key])
    yield compare(f"{name}/y_train", cell.train()(x), arrays["y_train"])
    running_statistics.follow([running_statistics.take_batch()])
    for pair in pairs:
        reference = arrays.get(f"after/{pair.published}")
        if reference is not None:
            yield compare(f"{name}/after", pair.tensor, reference)
    yield compare(f"{name}/y_eval_after", cell.eval()(x), arrays["y_eval_after"])


def _kind(name: str, primitive: str) -> CellKind:
    found = INVERTED_RESIDUAL_NAME.fullmatch(primitive)
    if found is not None:
        expansion, kernel_size, groups = map(int, found.groups())
        return InvertedResidual(expansion, kernel_size, groups or None)
    try:
        return TWO_CONVOLUTIONS[primitive]
    except KeyError:
        raise InvalidFixture(f"{name}: there is no kind of cell {primitive!r}") from None


def compare_tables(tables: Mapping[str, Any]) -> Iterator[Comparison]:
    """Compare what the tables hold; any may be absent. What differs on purpose is not compared."""
    for name, compare_table in (
        ("groups_per_scale", _compare_groups),
        ("kl_balancer_alpha", _compare_balancing),
        ("kl_coeff", _compare_kl_weight),
        ("lambda_anneal_by_kl_coeff", _compare_spectral_weight),
        ("pre_process_levels", _compare_levels),
        ("dmol_total_probability_mass", _compare_mass),
    ):
        if name in tables:
            yield from compare_table(name, tables[name])


def _compare_groups(name: str, table: list[Mapping[str, Any]]) -> Iterator[Comparison]:
    for row in table:
        ours = groups_per_scale(
            num_scales=row["scales"],
            num_groups=row["groups"],
            adaptive=row["adaptive"],
            minimum=row["minimum"],
        )
        yield exactly(name, ours[::-1], row["high_to_low_resolution"])


def _compare_balancing(name: str, table: Mapping[str, Any]) -> Iterator[Comparison]:
    for fine_to_coarse, reference in table[PUBLISHED_BALANCING].items():
        counts = [int(count) for count in fine_to_coarse.strip("[]").split(",")]
        config = ModelConfig(image_size=256, num_groups_per_scale=tuple(reversed(counts)))
        sizes = balance_kl("divide", build_hierarchy(config).groups).sizes
        yield compare_each(name, sizes, reference)


def _compare_kl_weight(name: str, table: Mapping[str, Any]) -> Iterator[Comparison]:
    for step, reference in table["values"].items():
        ours = kl_weight(
            int(step),
            num_steps=table["num_total_iter"],
            warmup_fraction=table["anneal_portion"],
            minimum=table["const_coeff"],
        )
        yield compare_each(name, [ours], [reference])


def _compare_spectral_weight(name: str, table: Mapping[str, Any]) -> Iterator[Comparison]:
    for ends, values in table.items():
        initial, final = map(float, ends.split("->"))
        for beta, reference in values.items():
            ours = spectral_weight(float(beta), final=final, initial=initial)
            yield compare_each(name, [ours], [reference])


def _compare_levels(name: str, table: Mapping[str, list[float]]) -> Iterator[Comparison]:
    for bit_depth, reference in table.items():
        levels = torch.arange(256, dtype=torch.uint8)
        ours = reduce_bit_depth(levels, int(bit_depth))
        yield compare(name, ours, reference)


def _compare_mass(name: str, table: Mapping[str, Mapping[str, float]]) -> Iterator[Comparison]:
    for row, values in table.items():
        bit_depth = int(row[0])  # "5bit_dark" and so on
        x = 2.0 * torch.arange(2**bit_depth) / (2**bit_depth - 1) - 1.0
        mean, log_scale = torch.tensor(values["mean"]), torch.tensor(values["log_scale"])
        mass = published_bin_log_prob(x, mean, log_scale, bit_depth).exp().sum()
        yield compare_each(name, mass, torch.tensor(values["total_mass"]))
