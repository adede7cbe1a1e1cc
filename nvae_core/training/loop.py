"""The training loop."""

import time

from nvae_core.config import TrainConfig
from nvae_core.distributed import Ranks
from nvae_core.model.nvae import count_parameters
from nvae_core.objective import balance_kl
from nvae_core.run_directory import ExitReason, Phase, Result, RunDirectory
from nvae_core.runtime.program import undisturbed_by_collection
from nvae_core.runtime.stop import StopSignal
from nvae_core.training.checkpointing import Checkpointing
from nvae_core.training.inputs import open_inputs
from nvae_core.training.phase_clock import PhaseClock
from nvae_core.training.pictures import Pictures
from nvae_core.training.reporting import Reporter
from nvae_core.training.resuming import start_or_resume
from nvae_core.training.schedules import weights_at
from nvae_core.training.step import take_step
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
    inputs = open_inputs(config, run, ranks)
    num_steps = optimization.epochs * inputs.order.steps_per_epoch
    state, changes = start_or_resume(config, run, inputs, num_steps=num_steps)
    balancing = balance_kl(optimization.kl_balancing, state.model.hierarchy.groups)
    validation = Validation(run, config, ranks, clock)
    pictures = Pictures(run, config, ranks, clock)
    reporter = Reporter(run, config, inputs, clock)
    reporter.started(state, num_steps, changes)
    state.model.train()
    stopped = False
    with Checkpointing(run, config, inputs, clock) as checkpointing, undisturbed_by_collection():
        while state.step < num_steps and not stopped:
            weights = weights_at(
                state.step,
                num_steps=num_steps,
                steps_per_epoch=inputs.order.steps_per_epoch,
                optimization=optimization,
            )
            clock.enter(Phase.DATA, state.step)
            x, noise = inputs.images(state.step), inputs.noise(state.step, state.model)
            clock.enter(Phase.STEP, state.step)
            outcome = take_step(
                state,
                x,
                noise,
                weights=weights,
                balancing=balancing,
                penalize_batch_norm=optimization.batch_norm_penalty,
                stop_requested=stop.is_set(),
                max_gradient_norm=optimization.max_gradient_norm,
            )
            clock.step_taken(state.step)
            state.measured.add(outcome)
            stopped = outcome.stop_agreed and state.step < num_steps
            # The checkpoint comes last: what a resumed run does not repeat is in the progress.
            reporter.step_taken(state, weights, is_last=state.step == num_steps)
            reporter.measured(state.step, validation.measure_when_due(state))
            pictures.draw_when_due(state)
            checkpointing.save_when_due(state)
        checkpointing.save_last(state)
        if not stopped:
            pictures.draw(state)
    clock.enter(Phase.END, state.step)
    return Result(
        status="stopped" if stopped else "succeeded",
        reason=ExitReason.STOPPED if stopped else None,
        step=state.step,
        values={
            "train_negative_elbo": state.measured.negative_elbo(),
            "num_parameters": count_parameters(state.model),
            "train_seconds": time.perf_counter() - started_at,
        },
    )
