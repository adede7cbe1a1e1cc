"""What importance-weighted likelihoods cost, and how they rise with the number of samples.

`python -m benchmarks.likelihood [CHECKPOINT DATASET] [--rounds N] [--digits N]`; float32, one
thread of a CPU. Whole evaluations in this process: pixels, importance samples, active channels,
sums, and files of estimates. A checkpoint is evaluated on images of the test split with 1, 10, 100
and 1000 samples; without one only the cost beside the published code is measured.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks.model_speed import CASES
from benchmarks.yardstick import measure_yardstick
from nvae_core.config import (
    BundledSource,
    EvaluateConfig,
    OptimizationConfig,
    PrepareDatasetConfig,
)
from nvae_core.data.prepare import prepare_dataset
from nvae_core.distributed import Ranks, compute_on_one_thread
from nvae_core.evaluation.run import evaluate_run
from nvae_core.run_directory import RunDirectory
from nvae_core.runtime.program import keep_freed_memory
from nvae_core.training.checkpointer import save_checkpoint
from nvae_core.training.state import start_training

CPU = torch.device("cpu")
NUMBERS_OF_SAMPLES = (1, 10, 100, 1000)


def evaluate(folder: Path, config: EvaluateConfig) -> tuple[dict[str, float], float, float]:
    """Return the values of an evaluation in a new run directory, its seconds and CPU seconds."""
    run = RunDirectory(Path(tempfile.mkdtemp(dir=folder)))
    run.create(config)
    began_at, processor_at = time.perf_counter(), time.process_time()
    result = evaluate_run(
        config, run, Ranks(0, 1, CPU), should_stop=lambda: False, enter=lambda num_images: None
    )
    return result.values, time.perf_counter() - began_at, time.process_time() - processor_at


def compare_with_published(folder: Path, num_rounds: int) -> dict[str, object]:
    """Return the cost per image and sample of `mnist-small` beside that of the published code."""
    case = CASES["mnist-small"]
    optimization = OptimizationConfig(epochs=10, batch_size=16)
    state = start_training(case.model, optimization, seed=0, device=CPU)
    config = EvaluateConfig(
        checkpoint=str(save_checkpoint(folder, state, optimization=optimization, seed=0)),
        dataset=str(_prepare_digits(folder / "digits")),
        num_images=case.batch_size,
        batch_size=case.batch_size,
        importance_samples=100,
    )
    costs = []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as elsewhere:
        for _ in range(num_rounds):
            before = elsewhere.submit(measure_yardstick, 5, 1).result()
            _, _, seconds = evaluate(folder, config)
            yardstick = (before + elsewhere.submit(measure_yardstick, 5, 1).result()) / 2
            costs.append(seconds / yardstick / (case.batch_size * config.importance_samples))
    cost = statistics.median(costs)
    return {
        "configuration": "mnist-small",
        "yardsticks_per_image_and_sample": round(cost, 5),
        "range": [round(min(costs), 5), round(max(costs), 5)],
        "of_published": round(cost / case.published.likelihood, 3),
    }


def raise_samples(
    folder: Path, checkpoint: str, dataset: str, num_images: int
) -> Iterator[dict[str, object]]:
    """Yield what more and more samples of the same images give, and take."""
    for num_samples in NUMBERS_OF_SAMPLES:
        config = EvaluateConfig(
            checkpoint=checkpoint,
            dataset=dataset,
            num_images=num_images,
            importance_samples=num_samples,
        )
        values, seconds, processor_seconds = evaluate(folder, config)
        yield {
            "importance_samples": num_samples,
            "images": num_images,
            "negative_elbo": round(values["negative_elbo"], 3),
            "importance_weighted_nll": round(values["importance_weighted_nll"], 3),
            "standard_error": round(
                values.get("importance_weighted_nll_standard_error", math.nan), 3
            ),
            "seconds": round(seconds, 1),
            "processor_seconds": round(processor_seconds, 1),
            "samples_per_second": round(num_images * num_samples / seconds),
        }


def main() -> None:
    """Print one JSON line for each figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", nargs="?", type=Path)
    parser.add_argument("dataset", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--digits", type=int, default=500)
    arguments = parser.parse_args()
    if arguments.checkpoint and not arguments.dataset:
        parser.error("a checkpoint needs a data set")
    compute_on_one_thread()
    keep_freed_memory()  # as the program does
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(compare_with_published(Path(name), arguments.rounds)), flush=True)
        if arguments.checkpoint:
            checkpoint, dataset = (
                str(path.resolve()) for path in (arguments.checkpoint, arguments.dataset)
            )
            for row in raise_samples(Path(name), checkpoint, dataset, arguments.digits):
                print(json.dumps(row), flush=True)


def _prepare_digits(folder: Path) -> Path:
    config = PrepareDatasetConfig(source=BundledSource(name="mnist_5k"))
    run = RunDirectory(folder)
    run.create(config)
    prepare_dataset(config, run)
    return run.dataset


if __name__ == "__main__":
    main()
