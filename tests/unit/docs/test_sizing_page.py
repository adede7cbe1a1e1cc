"""The page about sizes has the numbers that the presets are estimated at."""

import re
from pathlib import Path

import pytest

from nvae_core.config import CheckpointPolicy
from nvae_core.estimate import estimate
from nvae_core.presets import PRESETS

PAGE = (Path(__file__).parents[3] / "docs" / "sizing.md").read_text()
ROWS = {}
for name, cells in re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE):
    ROWS.setdefault(name, []).append([cell.strip() for cell in cells.split("|")])
# Images to train on, and in all prepared splits.
IMAGES = {
    "mnist": (60_000, 70_000),
    "cifar10": (50_000, 60_000),
    "imagenet32": (1_281_167, 1_331_167),
    "celeba64": (162_770, 202_599),
    "celeba_hq_256": (27_000, 30_000),
    "ffhq_256": (63_000, 70_000),
}
POLICY = CheckpointPolicy()

each_preset = pytest.mark.parametrize("name", IMAGES)


def gigabytes(num_bytes, digits=2):
    return f"{num_bytes / 1e9:.{digits}f} GB"


def count_steps(name):
    preset = PRESETS[name]
    batch = preset.optimization.batch_size * preset.num_ranks
    return preset.optimization.epochs * (IMAGES[name][0] // batch)


def test_every_preset_of_table_6_is_in_every_table():
    assert {name: len(rows) for name, rows in ROWS.items()} == dict.fromkeys(IMAGES, 3)


@each_preset
def test_what_a_training_needs(name):
    preset = PRESETS[name]
    cost, batch = estimate(preset.model), preset.optimization.batch_size
    assert ROWS[name][0] == [
        f"{cost.num_parameters / 1e6:.1f} M",
        gigabytes(cost.state_bytes),
        f"{cost.activation_bytes_per_image / 1e6:.0f} MB",
        str(batch),
        gigabytes(cost.training_bytes(batch), 1),
        gigabytes(cost.checkpoint_bytes),
    ]


@each_preset
def test_how_many_gpus_and_how_long(name):
    preset, steps = PRESETS[name], count_steps(name)
    gpus, hours, *computed = ROWS[name][1]
    batch = preset.optimization.batch_size * preset.num_ranks
    work = estimate(preset.model).training_flops_per_image * batch * steps
    assert gpus.startswith(f"{preset.num_ranks} × V100")
    assert computed == [
        f"{steps:,}".replace(",", " "),
        f"{float(hours) * 3600 / steps:.1f}",
        f"{work / 1e18:.1f} EFLOP",
    ]


@each_preset
def test_checkpoints_and_disks(name):
    model, steps = PRESETS[name].model, count_steps(name)
    size = estimate(model).checkpoint_bytes
    minutes = float(ROWS[name][1][1]) * 60 * POLICY.every_steps / steps
    image_bytes = model.num_colors * model.image_size**2
    assert ROWS[name][2] == [
        f"{minutes:.0f} min",
        gigabytes(steps // POLICY.every_steps * size, 0),
        gigabytes((POLICY.keep_last + 1) * size, 1),
        gigabytes(POLICY.keep_last * size, 1),
        gigabytes(IMAGES[name][1] * image_bytes),
    ]
