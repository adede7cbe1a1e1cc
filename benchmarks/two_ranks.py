"""Two ranks on two cores beside one rank on one: images per second, and waiting for data.

`python -m benchmarks.two_ranks [NAME …] [--rounds N] [--steps N]`; float32, gloo, one thread each;
statistics of batch norms over all ranks, and over each on its own. One rank and both take turns, so
that what else the machine does touches both. Two ranks that wait for each other suffer more from it
than one: on a machine that is not idle, the speedup by processor time says what it would be without
waiting.
"""

import argparse
import itertools
import json
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from benchmarks.model_speed import CASES
from nvae_core.config import (
    BundledSource,
    ComputeConfig,
    OptimizationConfig,
    RankPolicy,
    StatisticsScope,
    TrainConfig,
)
from nvae_core.data.prepare import write_prepared
from nvae_core.data.sources.stream import stream_arrays
from nvae_core.distributed import Ranks, join_ranks, limit_threads
from nvae_core.losses import balance_kl
from nvae_core.presets import find_preset
from nvae_core.run_directory import RunDirectory
from nvae_core.runtime.program import keep_freed_memory
from nvae_core.training.batches import open_batches
from nvae_core.training.schedules import Schedule
from nvae_core.training.state import start_training
from nvae_core.training.step import take_step

NUM_RANKS = 2
NUM_IMAGES = 2048
WARMUP_STEPS = 3
NAMES = ("mnist-cpu", "cifar-small")
SCOPES: tuple[StatisticsScope, ...] = ("all_ranks", "local")  # of the statistics of batch norms


@dataclass(frozen=True)
class Speed:
    """What some steps of one rank took, in seconds."""

    total: float
    data: float
    processor: float


def configure(name: str, folder: Path) -> TrainConfig:
    """Return a run on random images."""
    if name in CASES:
        model, batch_size = CASES[name].model, CASES[name].batch_size
    else:
        preset = find_preset(name)
        model, batch_size = preset.model, preset.optimization.batch_size
    shape = (NUM_IMAGES, model.image_size, model.image_size, model.num_colors)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    splits = stream_arrays(train=images, test=images[:1])
    write_prepared(folder / name, splits, BundledSource(name="mnist_5k"))
    optimization = OptimizationConfig(epochs=100, batch_size=batch_size)
    return TrainConfig(model=model, optimization=optimization, dataset=str(folder / name))


def prepare(config: TrainConfig, ranks: Ranks, compute: ComputeConfig) -> Callable[[int], Speed]:
    """Return what takes some steps, as the training loop does."""
    inputs = open_batches(config, RunDirectory(Path()), ranks)
    state = start_training(
        config.model, config.optimization, seed=0, device=ranks.device, compute=compute
    )
    balancing = balance_kl("multiply", state.model.hierarchy.groups)

    def train(num_steps: int) -> Speed:
        data = 0.0
        began_at, processor_at = time.perf_counter(), time.process_time()
        for _ in range(num_steps):
            asked_at = time.perf_counter()
            x, noise = inputs.images(state.step), inputs.noise(state.step, state.model)
            data += time.perf_counter() - asked_at
            metrics = take_step(
                state,
                x,
                noise,
                schedule=Schedule(1e-3, kl_weight=0.5, spectral_weight=0.01),
                balancing=balancing,
                penalize_batch_norm=True,
                stop_requested=False,
            )
            assert metrics.values
        return Speed(time.perf_counter() - began_at, data, time.process_time() - processor_at)

    return train


@cache
def prepare_alone(config: TrainConfig) -> Callable[[int], Speed]:
    """Return the same for a process that is the only rank."""
    torch.set_num_threads(1)
    keep_freed_memory()
    return prepare(config, Ranks(0, 1, torch.device("cpu")), ComputeConfig())


def train_alone(config: TrainConfig, num_steps: int) -> Speed:
    """Take some steps as the only rank."""
    return prepare_alone(config)(num_steps)


def measure(rank: int, port: int, folder: str, arguments: argparse.Namespace) -> None:
    """Be one of the ranks; the first prints one JSON line per configuration."""
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE=str(NUM_RANKS),
        LOCAL_WORLD_SIZE=str(NUM_RANKS),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    limit_threads()
    keep_freed_memory()
    configs = {name: configure(name, Path(folder, str(rank))) for name in arguments.names}
    # A process that has joined averages over the ranks: one that works alone is another.
    elsewhere = ProcessPoolExecutor(1, mp_context=mp.get_context("spawn"))
    with elsewhere as alone, join_ranks(RankPolicy()) as ranks:
        for (name, config), scope in itertools.product(configs.items(), SCOPES):
            by_all = prepare(config, ranks, ComputeConfig(batch_norm_statistics=scope))

            def by_one(num_steps: int, config: TrainConfig = config) -> Speed:
                return alone.submit(train_alone, config, num_steps).result()

            one, both = measure_in_turn(by_one, by_all, ranks, arguments)
            if ranks.is_first:
                images = config.optimization.batch_size * arguments.steps
                figures = describe(images, one, both)
                line = {"name": name, "batch_norm_statistics": scope} | figures
                print(json.dumps(line), flush=True)


def measure_in_turn(
    by_one: Callable[[int], Speed],
    by_all: Callable[[int], Speed],
    ranks: Ranks,
    arguments: argparse.Namespace,
) -> tuple[list[Speed], list[Speed]]:
    """Return the rounds of one rank, while the others wait, and those of all."""
    one, both = [], []
    for _ in range(arguments.rounds):
        if ranks.is_first:
            by_one(WARMUP_STEPS)
            one.append(by_one(arguments.steps))
        dist.barrier()
        by_all(WARMUP_STEPS)
        dist.barrier()
        both.append(by_all(arguments.steps))
        dist.barrier()
    return one, both


def describe(num_images: int, one: list[Speed], both: list[Speed]) -> dict[str, object]:
    """Return medians over the rounds; `num_images` are those of one rank in one round."""
    slow = statistics.median(num_images / speed.total for speed in one)
    fast = statistics.median(NUM_RANKS * num_images / speed.total for speed in both)
    ratios = [NUM_RANKS * a.total / b.total for a, b in zip(one, both, strict=True)]
    return {
        "images_per_second_of_one_rank": round(slow, 1),
        "images_per_second_of_two_ranks": round(fast, 1),
        "speedup": round(statistics.median(ratios), 3),
        "speedup_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "speedup_by_processor_time": round(
            NUM_RANKS
            * statistics.median(speed.processor for speed in one)
            / statistics.median(speed.processor for speed in both),
            3,
        ),
        "data_wait_share": round(statistics.median(s.data / s.total for s in both), 4),
        "load_average": os.getloadavg()[0],
    }


def main() -> None:
    """Start the ranks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=list(NAMES), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(measure, (port, folder, arguments), nprocs=NUM_RANKS)


if __name__ == "__main__":
    main()
