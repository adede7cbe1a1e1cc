"""Times one kind of work of one configuration, in the checkout that it is told.

`python beside_worker.py CHECKOUT KIND MODEL BATCH_SIZE REPEATS`, KIND one of training_step,
samples and likelihood, MODEL the JSON of a ModelConfig. Prints one JSON object: the processor
seconds of a call on one thread (median), and the peak of resident memory. It imports nothing but
`nvae_core`, and chooses by what that has.
"""

import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

NUM_SAMPLES = 16
NUM_IMPORTANCE_SAMPLES = 5
WARM_UP_CALLS = 2


def first_of(*names: str) -> ModuleType:
    """Return the first of some modules that exists."""
    for name in names[:-1]:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return importlib.import_module(names[-1])


class Worker:
    """A state after two steps, on random images."""

    def __init__(self, model: str, batch_size: int) -> None:
        config = importlib.import_module("nvae_core.config")
        state = importlib.import_module("nvae_core.training.state")
        self.model_config = config.ModelConfig.model_validate_json(model)
        self.optimization = config.OptimizationConfig(
            epochs=10, batch_size=batch_size, warmup_epochs=1.0
        )
        self.generator = torch.Generator().manual_seed(1)
        device = torch.device("cpu")
        self.state: Any = state.start_training(
            self.model_config, self.optimization, seed=0, device=device
        )
        size, colours = self.model_config.resolution, self.model_config.num_colors
        levels = torch.randint(0, 256, (batch_size, colours, size, size), generator=self.generator)
        x = (levels > 127).float() if colours == 1 else levels / 255.0
        self.x = x.contiguous(memory_format=torch.channels_last)
        self.training_step = self._prepare_step()
        self.state.model.train()
        for _ in range(WARM_UP_CALLS):
            self.training_step()

    def _prepare_step(self) -> Callable[[], None]:
        losses = first_of("nvae_core.losses", "nvae_core.objective")
        schedules = importlib.import_module("nvae_core.training.schedules")
        seeding = first_of("nvae_core.model.noise", "nvae_core.seeding")
        take_step = importlib.import_module("nvae_core.training.step").take_step
        hierarchy = self.state.model.hierarchy
        balancing = losses.balance_kl(self.optimization.kl_balancing, hierarchy.groups)
        is_new = hasattr(schedules, "schedule_at")
        at = schedules.schedule_at if is_new else schedules.weights_at
        # In the middle of the KL warm-up.
        schedule = at(150, num_steps=1000, steps_per_epoch=100, optimization=self.optimization)
        terms = {
            "schedule" if is_new else "weights": schedule,
            "balancing": balancing,
            "penalize_batch_norm": True,
            "stop_requested": False,
        }

        def step() -> None:
            shapes = self.state.model.noise_shapes(len(self.x))
            outcome = take_step(
                self.state, self.x, seeding.draw_noise(shapes, self.generator), **terms
            )
            assert outcome.values

        return step

    def prepare(self, kind: str) -> Callable[[], object]:
        """Return a call of this kind of work."""
        if kind == "training_step":
            return self.training_step
        self.state.model.eval()
        network = first_of("nvae_core.model.fuse", "nvae_core.inference.network")
        is_new = hasattr(network, "fuse")
        if kind == "samples":
            drawing = first_of("nvae_core.sampling.draw", "nvae_core.sampling.drawing")
            model = self.state.model
            decoder = network.fuse(model.decoder) if is_new else network.fold_decoder(model)
            return lambda: drawing.draw_images(
                decoder, NUM_SAMPLES, temperature=0.7, generator=self.generator
            )
        if kind == "likelihood":
            likelihood = importlib.import_module("nvae_core.evaluation.likelihood")
            folded = (network.fuse if is_new else network.fold_model)(self.state.model)
            noise = [self.generator] * NUM_IMPORTANCE_SAMPLES
            return lambda: likelihood.score_by(folded, self.x, noise)
        raise ValueError(f"KIND: {kind!r} is not training_step, samples or likelihood")


def main(arguments: list[str]) -> None:
    """Print the figures."""
    checkout, kind, model, batch_size, repeats = arguments
    sys.path.insert(0, checkout)
    torch.set_num_threads(1)
    memory = first_of("nvae_core.kernels.memory", "nvae_core.runtime.program")
    memory.keep_freed_memory()  # as the trainer does
    work = Worker(model, int(batch_size)).prepare(kind)
    seconds = []
    for index in range(WARM_UP_CALLS + int(repeats)):
        began_at = time.process_time()
        work()
        if index >= WARM_UP_CALLS:
            seconds.append(time.process_time() - began_at)
    print(json.dumps({"seconds": statistics.median(seconds), "peak_mib": peak_mebibytes()}))


def peak_mebibytes() -> float:
    """Return the most resident memory this process has had."""
    with open("/proc/self/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return int(fields["VmHWM"].split()[0]) / 1024


if __name__ == "__main__":
    main(sys.argv[1:])
