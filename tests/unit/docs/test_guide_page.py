"""The guide tells of the real preset what the estimate says."""

import re
from pathlib import Path

import pytest

from nvae_client.cli.output import show_bytes, show_count
from nvae_core.estimate import Estimate, estimate
from nvae_core.presets import apply_overrides, find_preset

PAGE = (Path(__file__).parents[3] / "docs" / "guide.md").read_text()
PRESET = find_preset("cifar10")
NUM_TRAINING_IMAGES = 50_000


def cost_of(**overrides: int) -> Estimate:
    return estimate(apply_overrides(PRESET, {f"model.{k}": v for k, v in overrides.items()}).model)


def test_plan_is_that_of_the_preset():
    batch = PRESET.optimization.batch_size * PRESET.num_ranks
    num_steps = PRESET.optimization.epochs * (NUM_TRAINING_IMAGES // batch)
    cost = cost_of()
    for line in (
        f"ranks            {PRESET.num_ranks}",
        f"parameters       {show_count(cost.num_parameters)}",
        f"steps            {num_steps:,}".replace(",", " "),
        f"memory per rank  {show_bytes(cost.training_bytes(PRESET.optimization.batch_size))}",
        f"memory per rank  {show_bytes(cost.training_bytes(8, 'bf16'))}",
        f"checkpoint       {show_bytes(cost.checkpoint_bytes)}, 3 kept",
    ):
        assert f"\n{line}\n" in PAGE


@pytest.mark.parametrize(
    ("option", "num_bytes"),
    [
        ("none", cost_of().training_bytes(32)),
        ("gradient_accumulation=4", cost_of().training_bytes(32 // 4)),
        ("compute.precision=bf16", cost_of().training_bytes(32, "bf16")),
        ("batch_size=16", cost_of().training_bytes(16)),
        (
            "num_decoder_channels=64",
            cost_of(num_encoder_channels=64, num_decoder_channels=64).training_bytes(32),
        ),
    ],
)
def test_memory_of_each_option_is_estimated(option, num_bytes):
    [row] = re.findall(rf"^\| .*{option}`? \|.*\| ([\d.]+) \|$", PAGE, re.MULTILINE)
    assert row == f"{num_bytes / 2**30:.1f}"
