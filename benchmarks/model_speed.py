"""Training step, samples and likelihood on one thread, in yardsticks, beside the published code.

`python -m benchmarks.model_speed [NAME …] [--rounds N]`; float32, CPU. The published code was timed
on another machine, beside the same yardstick in one process (medians of 4 to 6 rounds, ±8 %).
"""

import argparse
import json
import os
import statistics
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import torch

from benchmarks.memory import resident_mebibytes
from benchmarks.yardstick import measure, measure_yardstick
from nvae_core.config import ModelConfig, OptimizationConfig
from nvae_core.evaluation.likelihood import score_images
from nvae_core.losses import balance_kl
from nvae_core.model.fuse import fuse
from nvae_core.model.nvae import count_parameters
from nvae_core.presets import find_preset
from nvae_core.runtime.program import keep_freed_memory, undisturbed_by_collection
from nvae_core.sampling.draw import draw_images
from nvae_core.training.schedules import Schedule
from nvae_core.training.state import TrainingState, start_training
from nvae_core.training.step import take_step

NUM_SAMPLES = 16
NUM_IMPORTANCE_SAMPLES = 5


@dataclass(frozen=True)
class Published:
    """What the published code takes, in yardsticks."""

    training_step: float
    samples: float  # 16 of them
    likelihood: float  # per image and importance sample


@dataclass(frozen=True)
class Case:
    """A configuration, and what the published code takes for it."""

    model: ModelConfig
    batch_size: int
    num_parameters: int
    published: Published


COLOURS = {"num_colors": 3, "image_distribution": "logistic_mixture", "num_flow_transforms": 2}
CASES = {
    "mnist-small": Case(
        ModelConfig(
            image_size=28,
            image_padding=2,
            num_groups_per_scale=(2, 4),
            num_encoder_channels=16,
            num_decoder_channels=16,
            num_preprocess_blocks=2,
            num_preprocess_cells=3,
            num_postprocess_cells=3,
            num_encoder_cells_per_group=1,
            num_decoder_cells_per_group=1,
        ),
        16,
        2_267_622,
        Published(1.42, 0.167, 0.0174),
    ),
    "cifar-small": Case(
        ModelConfig(
            **COLOURS,
            image_size=32,
            num_groups_per_scale=(10,),
            num_encoder_channels=32,
            num_decoder_channels=32,
        ),
        8,
        3_654_176,
        Published(4.8, 0.93, 0.120),
    ),
    "celeba64-small": Case(
        ModelConfig(
            **COLOURS,
            image_size=64,
            num_groups_per_scale=(1, 2, 4),
            num_encoder_channels=16,
            num_decoder_channels=16,
        ),
        4,
        2_611_148,
        Published(3.4, 1.74, 0.197),
    ),
    "mnist-released": Case(
        find_preset("mnist-released").model, 16, 33_363_134, Published(9.3, 1.01, 0.100)
    ),
}


def prepare(case: Case) -> tuple[TrainingState, torch.Tensor]:
    """Return a state in the middle of the KL warm-up, and a batch of images."""
    optimization = OptimizationConfig(epochs=10, batch_size=case.batch_size)
    state = start_training(case.model, optimization, seed=0, device=torch.device("cpu"))
    assert count_parameters(state.model) == case.num_parameters
    generator = torch.Generator().manual_seed(0)
    size, colours = case.model.resolution, case.model.num_colors
    levels = torch.randint(0, 256, (case.batch_size, colours, size, size), generator=generator)
    x = (levels > 127).float() if colours == 1 else levels / 255.0
    return state, x.contiguous(memory_format=torch.channels_last)


def works(state: TrainingState, x: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Return one call of each kind of work."""
    model = state.model
    generator = torch.Generator().manual_seed(1)
    balancing = balance_kl("divide", model.hierarchy.groups)

    def training_step() -> None:
        model.train()
        metrics = take_step(
            state,
            x,
            generator,
            schedule=Schedule(1e-3, kl_weight=0.5, spectral_weight=0.01),
            balancing=balancing,
            penalize_batch_norm=True,
            stop_requested=False,
        )
        assert metrics.values

    def samples() -> None:
        model.eval()
        draw_images(fuse(model.decoder), NUM_SAMPLES, temperature=0.7, generator=generator)

    def likelihood() -> None:
        model.eval()
        score_images(model, x, [generator] * NUM_IMPORTANCE_SAMPLES)

    return {
        "training_step": training_step,
        "samples": samples,
        "fuse": lambda: fuse(model.decoder.eval()),  # a part of `samples`
        "likelihood": likelihood,
    }


def main() -> None:
    """Print one JSON line per configuration."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "names", nargs="*", default=list(CASES), metavar="NAME", help=", ".join(CASES)
    )
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as the trainer does; the yardstick is measured where nobody does
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as elsewhere:

        def yardstick() -> float:
            return elsewhere.submit(measure_yardstick, 5, 1).result()

        for name in arguments.names:
            figures = measure_case(name, arguments.rounds, yardstick)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as anew:
                figures["training_peak_mib"] = round(anew.submit(measure_memory, name).result())
            print(json.dumps(figures), flush=True)


def measure_memory(name: str) -> float:
    """Return the peak of resident MiB of training above what the imports take; in a new process."""
    torch.set_num_threads(1)
    keep_freed_memory()
    before = resident_mebibytes(os.getpid(), peak=True)
    training_step = works(*prepare(CASES[name]))["training_step"]
    for _ in range(3):
        training_step()
    return resident_mebibytes(os.getpid(), peak=True) - before


def measure_case(name: str, num_rounds: int, yardstick: Callable[[], float]) -> dict[str, object]:
    """Return the figures of one configuration by name."""
    case = CASES[name]
    state, x = prepare(case)
    ratios: dict[str, list[float]] = defaultdict(list)
    with undisturbed_by_collection():
        for _ in range(num_rounds):
            for kind, work in works(state, x).items():
                before = yardstick()
                seconds = measure(work, repeats=3, warmup=1)
                between = (before + yardstick()) / 2
                count = len(x) * NUM_IMPORTANCE_SAMPLES if kind == "likelihood" else 1
                ratios[kind].append(seconds / between / count)
    figures = {kind: statistics.median(values) for kind, values in ratios.items()}
    return {
        "name": name,
        **{kind: round(value, 4) for kind, value in figures.items()},
        **{
            f"{kind}_of_published": round(value / getattr(case.published, kind), 3)
            for kind, value in figures.items()
            if hasattr(case.published, kind)
        },
    }


if __name__ == "__main__":
    main()
