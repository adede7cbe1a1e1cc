"""The training loop."""

import time
from collections.abc import Callable
from functools import partial

from nvae_core.config import OptimizationConfig, TrainConfig
from nvae_core.distributed import Ranks
from nvae_core.losses import KLBalancing, balance_kl
from nvae_core.model.nvae import count_parameters
from nvae_core.run_directory import (
    ExitReason,
    InvalidRunDirectory,
    Phase,
    Result,
    RunDirectory,
)
from nvae_core.runtime.program import undisturbed_by_collection
from nvae_core.runtime.stop import StopSignal
from nvae_core.training.batches import open_batches
from nvae_core.training.checkpointer import Checkpointer
from nvae_core.training.metrics import StepMetrics
from nvae_core.training.reporter import PhaseClock, Reporter
from nvae_core.training.resume import start_or_resume
from nvae_core.training.sample_grids import SampleGrids
from nvae_core.training.schedules import schedule_at
from nvae_core.training.state import TrainingState
from nvae_core.training.step import take_step
from nvae_core.training.step_graph import StepGraph
from nvae_core.training.validation import Validation


def train(
    config: TrainConfig, run: RunDirectory, ranks: Ranks, stop: StopSignal, clock: PhaseClock
) -> Result:
    """Train until the last step, or until asked to stop; all ranks leave at the same step.

    Raises:
        InvalidDataset: the data set is missing, damaged, too small, or does not fit the model.
        InvalidRunDirectory: the configuration does not continue the run it resumes from.
        CheckpointCorrupt: the checkpoint to resume from cannot be used.
        NonFiniteLoss: many steps in a row had to be skipped.
        OSError: the last checkpoint could not be saved.
    """
    started_at = time.perf_counter()
    optimization = config.optimization
    batches = open_batches(config, run, ranks)
    num_steps = optimization.epochs * batches.order.steps_per_epoch
    state, changes = start_or_resume(config, run, batches, num_steps=num_steps)
    balancing = balance_kl(optimization.kl_balancing, state.model.hierarchy.groups, ranks.device)
    validation = Validation(run, config, ranks, clock)
    sample_grids = SampleGrids(run, config, ranks, clock)
    reporter = Reporter(run, config, batches, clock)
    reporter.started(state, num_steps, changes)
    step = _choose_step(state, optimization, balancing, ranks)
    state.model.train()
    stopped = False
    with Checkpointer(run, config, batches, clock) as checkpointer, undisturbed_by_collection():
        while state.step < num_steps and not stopped:
            schedule = schedule_at(
                state.step,
                num_steps=num_steps,
                steps_per_epoch=batches.order.steps_per_epoch,
                optimization=optimization,
            )
            clock.enter(Phase.DATA, state.step)
            x, noise = batches.images(state.step), batches.noise(state.step, state.model)
            clock.enter(Phase.STEP, state.step)
            metrics = step(x, noise, schedule=schedule, stop_requested=stop.is_set())
            state.metrics.add(metrics)  # waits for the step
            clock.step_taken(state.step)
            stopped = metrics.stop_agreed and state.step < num_steps
            # The checkpoint comes last: what a resumed run does not repeat is in the progress.
            reporter.step_taken(state, schedule, is_last=state.step == num_steps)
            reporter.measured(state.step, validation.measure_when_due(state))
            sample_grids.draw_when_due(state)
            checkpointer.save_when_due(state)
        checkpointer.save_last(state)
        if not stopped:
            sample_grids.draw(state)
    clock.enter(Phase.END, state.step)
    return Result(
        status="stopped" if stopped else "succeeded",
        reason=ExitReason.STOPPED if stopped else None,
        step=state.step,
        values={
            "train_negative_elbo": state.metrics.negative_elbo(),
            "num_parameters": count_parameters(state.model),
            "train_seconds": time.perf_counter() - started_at,
        },
    )


def _choose_step(
    state: TrainingState, optimization: OptimizationConfig, balancing: KLBalancing, ranks: Ranks
) -> Callable[..., StepMetrics]:
    """Return what takes images, noise, schedule and stop_requested, and does a step."""
    if not state.compute.cuda_graph:
        return partial(
            take_step,
            state,
            balancing=balancing,
            penalize_batch_norm=optimization.batch_norm_penalty,
            max_gradient_norm=optimization.max_gradient_norm,
        )
    if ranks.device.type != "cuda":
        raise InvalidRunDirectory("compute.cuda_graph: needs a GPU, and this run is on a CPU")
    graph = StepGraph(
        state,
        balancing=balancing,
        penalize_batch_norm=optimization.batch_norm_penalty,
        max_gradient_norm=optimization.max_gradient_norm,
    )
    return graph.take_step
