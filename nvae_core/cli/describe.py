"""Say what a preset is and what it costs: `python -m nvae_core.cli.describe PRESET [--json]`."""

import argparse
import json
import sys
from dataclasses import asdict
from itertools import groupby

from nvae_core.architecture import LatentGroup, build_hierarchy
from nvae_core.estimate import estimate
from nvae_core.presets import PRESETS, Preset

GIB = 2**30
MIB = 2**20


def main() -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(
        prog="python -m nvae_core.cli.describe",
        description="Say what a preset is, and what it takes to train it.",
    )
    names = ", ".join(PRESETS)
    parser.add_argument("preset", choices=PRESETS, metavar="PRESET", help=f"one of {names}")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    preset = PRESETS[arguments.preset]
    if arguments.json:
        sys.stdout.write(json.dumps(describe(preset), indent=2) + "\n")
    else:
        sys.stdout.write(_as_text(preset))
    return 0


def describe(preset: Preset) -> dict[str, object]:
    """Return all there is to say about a preset; sizes in bytes, work per image."""
    hierarchy = build_hierarchy(preset.model)
    cost = estimate(preset.model)
    batch_size = preset.optimization.batch_size
    return {
        "preset": preset.name,
        "description": preset.description,
        **asdict(cost),
        "num_groups": len(hierarchy.groups),
        "num_groups_per_scale": list(preset.model.num_groups_per_scale),
        "latent_shapes": [_latent_shape(preset, group) for group in hierarchy.groups],
        "batch_size": batch_size,
        "num_ranks": preset.num_ranks,
        "training_bytes_per_rank": cost.training_bytes(batch_size),
        "model": preset.model.model_dump(mode="json"),
        "optimization": preset.optimization.model_dump(mode="json"),
        "activation_bytes_per_image_in_bf16": cost.activation_bytes("bf16"),
        "training_bytes_per_rank_in_bf16": cost.training_bytes(batch_size, "bf16"),
    }


def _latent_shape(preset: Preset, group: LatentGroup) -> list[int]:
    """Return channels, height and width of one image's latents in the group."""
    return [preset.model.num_latents_per_group, group.resolution, group.resolution]


def _as_text(preset: Preset) -> str:
    model, cost = preset.model, estimate(preset.model)
    batch_size = preset.optimization.batch_size
    shapes = [tuple(_latent_shape(preset, group)) for group in build_hierarchy(model).groups]
    latents = ", ".join(
        f"{len(list(same))} of {'x'.join(map(str, shape))}" for shape, same in groupby(shapes)
    )
    rows = (
        ("images", f"{model.num_colors}x{model.image_size}x{model.image_size}, {_pixels(preset)}"),
        ("parameters", f"{cost.num_parameters:,}"),
        ("latent groups", f"{len(shapes)}, coarse to fine: {latents}"),
        (
            "work per image",
            f"{cost.flops_per_image / 1e9:.2f} GFLOP forward, "
            f"{cost.training_flops_per_image / 1e9:.2f} in training",
        ),
        ("activations", f"{cost.activation_bytes_per_image / MIB:,.1f} MiB per image"),
        (
            "memory",
            f"{cost.training_bytes(batch_size) / GIB:.1f} GiB per rank in float32, "
            f"with {batch_size} images on each of {preset.num_ranks} ranks",
        ),
        ("checkpoint", f"{cost.checkpoint_bytes / MIB:,.1f} MiB"),
        (
            "in bf16",
            f"{cost.training_bytes(batch_size, 'bf16') / GIB:.1f} GiB per rank, "
            f"activations {cost.activation_bytes('bf16') / MIB:,.1f} MiB per image",
        ),
    )
    lines = [
        f"{preset.name}: {preset.description}",
        *(f"  {name:<15} {text}" for name, text in rows),
    ]
    return "\n".join(lines) + "\n"


def _pixels(preset: Preset) -> str:
    model = preset.model
    if model.image_distribution == "bernoulli":
        return "Bernoulli pixels"
    return f"mixture of {model.num_mixtures} discretized logistics, {model.bit_depth} bits"


if __name__ == "__main__":
    sys.exit(main())
