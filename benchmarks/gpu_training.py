"""Training speed and memory on a GPU, over everything that changes them.

`python -m benchmarks.gpu_training [PRESET …]` measures eager and compiled cells, channels_last and
contiguous memory, with and without activation checkpointing, in bf16, and prints one JSON line for
each, the first of them saying where. `--tiny` is a rehearsal on a CPU.
"""

import argparse
import itertools
import json
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import torch

from nvae_core.config import ComputeConfig, ModelConfig, OptimizationConfig
from nvae_core.losses import balance_kl
from nvae_core.model.nvae import count_parameters
from nvae_core.presets import PRESETS, Preset, find_preset
from nvae_core.training.reporter import peak_memory_bytes
from nvae_core.training.schedules import Schedule
from nvae_core.training.state import TrainingState, start_training
from nvae_core.training.step import take_step

DEFAULT_PRESETS = ("cifar10-released", "celeba_hq_256-released")
WEIGHTS = Schedule(learning_rate=1e-3, kl_weight=0.5, spectral_weight=0.01)
TINY = Preset(
    name="tiny",
    description="for the rehearsal: one kind of cell in each tower",
    model=ModelConfig(
        image_size=8,
        num_groups_per_scale=(2,),
        num_latents_per_group=2,
        num_encoder_channels=2,
        num_decoder_channels=2,
        num_preprocess_blocks=0,
        num_encoder_cells_per_group=1,
        num_decoder_cells_per_group=1,
    ),
    optimization=OptimizationConfig(epochs=1, batch_size=2, warmup_epochs=0),
    num_ranks=1,
)


@dataclass(frozen=True)
class Combination:
    """What is varied."""

    preset: str
    compile: bool
    channels_last: bool
    activation_checkpointing: bool


def combinations(presets: list[Preset], *, compiled: tuple[bool, ...]) -> Iterator[Combination]:
    """Return all, those that are quick to measure first."""
    for preset in presets:
        for flags in itertools.product(compiled, (True, False), (False, True)):
            yield Combination(preset.name, *flags)


def measure(
    preset: Preset, combination: Combination, device: torch.device, *, warmup: int, steps: int
) -> dict[str, object]:
    """Return speed and memory, or that there was not enough of it."""
    torch._dynamo.reset()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    try:
        return _measure(preset, combination, device, warmup=warmup, steps=steps)
    except torch.OutOfMemoryError as error:
        return {"out_of_memory": str(error).splitlines()[0]}


def _measure(
    preset: Preset, combination: Combination, device: torch.device, *, warmup: int, steps: int
) -> dict[str, object]:
    compute = ComputeConfig(
        precision="bf16",
        compile=combination.compile,
        activation_checkpointing=combination.activation_checkpointing,
    )
    state = start_training(
        preset.model, preset.optimization, seed=0, device=device, compute=compute
    )
    layout = torch.channels_last if combination.channels_last else torch.contiguous_format
    state.model.to(memory_format=layout)
    state.model.train()
    x = _images(preset, device).contiguous(memory_format=layout)
    began_at = time.perf_counter()
    for _ in range(warmup):
        _step(state, x)
    warmup_seconds = time.perf_counter() - began_at
    seconds = [_step(state, x) for _ in range(steps)]
    median = statistics.median(seconds)
    return {
        "images_per_second": round(len(x) / median, 2),
        "step_seconds": round(median, 5),
        "step_seconds_range": [round(min(seconds), 5), round(max(seconds), 5)],
        "peak_memory_bytes": peak_memory_bytes(device),
        "warmup_seconds": round(warmup_seconds, 2),  # with what is compiled
        "batch_size": len(x),
        "num_parameters": count_parameters(state.model),
    }


def _step(state: TrainingState, x: torch.Tensor) -> float:
    began_at = time.perf_counter()
    outcome = take_step(
        state,
        x,
        torch.Generator(x.device).manual_seed(state.step),
        weights=WEIGHTS,
        balancing=balance_kl("divide", state.model.hierarchy.groups),
        penalize_batch_norm=True,
        stop_requested=False,
    )
    assert outcome.values  # numbers of this step: the device has finished it, but for the update
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - began_at


def _images(preset: Preset, device: torch.device) -> torch.Tensor:
    model = preset.model
    shape = (preset.optimization.batch_size, model.num_colors, model.resolution, model.resolution)
    levels = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0))
    x = (levels > 127).float() if model.num_colors == 1 else levels / 255.0
    return x.to(device)


def describe_machine(device: torch.device, command: list[str]) -> dict[str, object]:
    """Return where the figures come from."""
    is_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if is_gpu else platform.processor() or "cpu",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "python": platform.python_version(),
        "command": shlex.join(command),
    }


def main(arguments: list[str]) -> None:
    """Print the machine, then one line per combination."""
    parser = argparse.ArgumentParser()
    parser.add_argument("presets", nargs="*", metavar="PRESET", help=", ".join(PRESETS))
    parser.add_argument("--batch-size", type=int, help="in place of the preset's")
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--tiny", action="store_true", help="a tiny model on a CPU, not compiled")
    options = parser.parse_args(arguments)
    device = torch.device("cpu" if options.tiny else "cuda")
    presets = [find_preset(name) for name in options.presets or DEFAULT_PRESETS]
    if options.tiny:
        presets = [TINY]
    if options.batch_size:
        update = {"batch_size": options.batch_size}
        presets = [
            replace(preset, optimization=preset.optimization.model_copy(update=update))
            for preset in presets
        ]
    by_name = {preset.name: preset for preset in presets}
    print(json.dumps(describe_machine(device, [sys.executable, __file__, *arguments])), flush=True)
    compiled = (False,) if options.tiny else (False, True)
    for combination in combinations(presets, compiled=compiled):
        preset = by_name[combination.preset]
        found = measure(preset, combination, device, warmup=options.warmup, steps=options.steps)
        print(json.dumps(asdict(combination) | {"precision": "bf16"} | found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
