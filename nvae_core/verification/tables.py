"""Rules of one number each: `tables.json`. What we do differently on purpose is not compared."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from nvae_core.architecture import build_hierarchy
from nvae_core.config import ModelConfig
from nvae_core.data.pixels import reduce_bit_depth
from nvae_core.interop.arguments import groups_per_scale
from nvae_core.model.discretized_logistic import published_bin_log_prob
from nvae_core.objective import balance_kl
from nvae_core.training.schedules import kl_weight, spectral_weight
from nvae_core.verification.comparison import Comparison, compare, compare_each, exactly

PUBLISHED_BALANCING = "square"  # of the four rules in the table, the one of published training


def compare_tables(tables: Mapping[str, Any]) -> Iterator[Comparison]:
    """Compare what the tables hold; any of them may be absent."""
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
