"""Sections of a session on a GPU: whole programs, checkpoints and samples."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from benchmarks.gpu_cases import TINY, Setting, Training, differing, digits, synchronize, wall_ms
from nvae_core.checkpoint import MODEL_NAME, TRAINING_NAME, write_checkpoint
from nvae_core.config import (
    BundledSource,
    CheckpointPolicy,
    ComputeConfig,
    EvaluateConfig,
    SampleConfig,
    SamplePolicy,
    TrainConfig,
    ValidationPolicy,
)
from nvae_core.data.prepare import write_prepared
from nvae_core.data.sources.stream import stream_arrays
from nvae_core.evaluation.likelihood import score_by
from nvae_core.model.fuse import fuse
from nvae_core.run_directory import RunDirectory
from nvae_core.sampling.draw import draw_images
from nvae_core.training.checkpointer import take_snapshot

Figures = Iterator[dict[str, object]]
NUM_IMAGES = 8  # 4 steps an epoch
NUM_STEPS = 8


class _Program:
    """One of the package's programs on a run directory."""

    def __init__(self, name: str, config: TrainConfig | SampleConfig | EvaluateConfig, path: Path):
        self.run = RunDirectory(path)
        self.run.create(config)
        self._name = name

    def start(self) -> subprocess.Popen[bytes]:
        """Start its process, with what it says in a file of the run directory."""
        with (self.run.logs / "output").open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", f"nvae_core.cli.{self._name}", str(self.run.path)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )

    def outcome(self) -> dict[str, object]:
        """Return how it ended, and why."""
        result = self.run.read_result()
        if result is None:
            return {"status": None, "log": (self.run.logs / "output").read_text()[-1000:]}
        outcome: dict[str, object] = {"status": result.status}
        if result.status == "failed":
            outcome |= {"reason": result.reason, "message": str(result.message)[:1000]}
        return outcome

    def tensors(self, step: int) -> dict[str, torch.Tensor]:
        """Return all of a checkpoint."""
        folder = self.run.checkpoints / f"step_{step:08d}"
        return load_file(folder / MODEL_NAME) | load_file(folder / TRAINING_NAME)


def _run_together(**programs: _Program) -> dict[str, object]:
    processes = [program.start() for program in programs.values()]
    for process in processes:
        process.wait()
    return {name: program.outcome() for name, program in programs.items()}


def programs(setting: Setting) -> Figures:
    """Train, stop and resume: bits; validation, pictures, samples and an evaluation."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = TINY.model.image_size
        shape = (NUM_IMAGES, size, size, TINY.model.num_colors)
        images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        splits = stream_arrays(train=images, test=images)
        write_prepared(folder / "data", splits, BundledSource(name="mnist_5k"))
        config = TrainConfig(
            model=TINY.model,
            optimization=TINY.optimization,
            dataset=str(folder / "data"),
            compute=ComputeConfig(precision="bf16"),
            checkpoint=CheckpointPolicy(every_steps=4),
            samples=SamplePolicy(every_steps=4),
            validation=ValidationPolicy(every_steps=4),
            report_every_steps=1,
        )
        whole = _Program("train", config, folder / "whole")
        stopped = _Program("train", config, folder / "stopped")
        stopped.run.stop_path.touch()  # it leaves after its first step
        runs = {"trained": whole, "stopped": stopped}
        if setting.is_gpu:
            compute = config.compute.model_copy(update={"cuda_graph": True})
            graph_config = config.model_copy(update={"compute": compute})
            runs["trained_by_graph"] = _Program("train", graph_config, folder / "graph")
        yield _run_together(**runs)
        yield {
            "pictures": len(list(whole.run.samples.glob("*.png"))),
            "validated": b"validation/negative_elbo" in whole.run.progress_path.read_bytes(),
        }
        checkpoint = stopped.run.checkpoints / "step_00000001"
        resumed_config = config.model_copy(update={"resume_from": str(checkpoint)})
        resumed = _Program("train", resumed_config, folder / "resumed")
        last = str(whole.run.checkpoints / f"step_{NUM_STEPS:08d}")
        sample = SampleConfig(checkpoint=last, num_images=4)
        evaluate = EvaluateConfig(
            checkpoint=last, dataset=str(folder / "data"), importance_samples=2
        )
        yield _run_together(
            resumed=resumed,
            sampled=_Program("sample", sample, folder / "sampled"),
            evaluated=_Program("evaluate", evaluate, folder / "evaluated"),
        )
        names = differing(whole.tensors(NUM_STEPS), resumed.tensors(NUM_STEPS))
        yield {"resumed_is_equal": not names, "differing": [len(names), *names[:5]]}
        if setting.is_gpu:
            by_graph = runs["trained_by_graph"].tensors(NUM_STEPS)
            names = differing(whole.tensors(NUM_STEPS), by_graph)
            yield {"graph_is_equal": not names}


def checkpoint(setting: Setting) -> Figures:
    """How long a checkpoint holds training up, and how long it takes to write."""
    training = Training(setting.preset(), setting.device)
    training.step()
    optimization = training.preset.optimization
    pauses, seconds = [], []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(2):  # the first finds no pinned memory
            synchronize(setting.device)
            began_at = time.perf_counter()
            snapshot = take_snapshot(training.state, optimization=optimization, seed=0)
            pauses.append(digits(1000 * (time.perf_counter() - began_at)))
            training.step()
            pauses.append(digits(1000 * (time.perf_counter() - began_at)))
            write_checkpoint(Path(folder, str(index)), snapshot)
            seconds.append(digits(time.perf_counter() - began_at))
    yield {
        "gigabytes": digits(snapshot.num_bytes / 1e9),
        "snapshot_ms": pauses[::2],
        "snapshot_and_step_ms": pauses[1::2],
        "written_after_seconds": seconds,
        "step_ms": wall_ms(training.step, setting.device, seconds=0.5),
    }


def sampling(setting: Setting) -> Figures:
    """Images per second of sampling and of likelihoods, in float32."""
    training = Training(setting.preset(), setting.device)
    training.step()
    model, device = training.state.model.eval(), setting.device
    generator = torch.Generator(device).manual_seed(0)
    fused = fuse(model)
    seconds = 0.05 if setting.is_tiny else 2.0
    for num_images in (2,) if setting.is_tiny else (16, 64, 512):

        def draw(num_images: int = num_images) -> None:
            draw_images(fused.decoder, num_images, temperature=0.7, generator=generator)

        milliseconds = wall_ms(draw, device, seconds=seconds, warmup=1)
        yield {
            f"{num_images} samples": {
                "ms": milliseconds,
                "images_per_second": digits(1000 * num_images / milliseconds),
            }
        }
    num_samples = 2 if setting.is_tiny else 16
    milliseconds = wall_ms(
        lambda: score_by(fused, training.x, [generator] * num_samples), device, seconds=seconds
    )
    rate = num_samples * training.batch_size * 1000 / milliseconds
    yield {"importance_samples_per_second": digits(rate)}
