"""The training loop."""

import time
from collections import deque

from nvae_core.config import TrainConfig
from nvae_core.distributed import Ranks
from nvae_core.model.nvae import count_parameters
from nvae_core.objective import balance_kl
from nvae_core.run_directory import ExitReason, Result, RunDirectory
from nvae_core.training.checkpoint import restore_training
from nvae_core.training.inputs import open_inputs
from nvae_core.training.outcome import StepOutcome
from nvae_core.training.reporting import Reporter
from nvae_core.training.schedules import weights_at
from nvae_core.training.shutdown import StopSignal
from nvae_core.training.state import TrainingState, initialize_from_data, start_training
from nvae_core.training.step import take_step

MAX_SKIPPED_STEPS = 20
FINAL_WINDOW = 50  # steps that the result's negative ELBO is a mean of


class NonFiniteLoss(ArithmeticError):
    """Many steps in a row were skipped."""


def train(config: TrainConfig, run: RunDirectory, ranks: Ranks, stop: StopSignal) -> Result:
    """Train until the last step, or until asked to stop; all ranks leave at the same step.

    Raises:
        InvalidDataset: the data set is missing, damaged, too small, or does not fit the model.
        CheckpointCorrupt: the checkpoint to resume from cannot be used.
        NonFiniteLoss: many steps in a row had to be skipped.
    """
    started_at = time.perf_counter()
    optimization = config.optimization
    inputs = open_inputs(config, run, ranks)
    num_steps = optimization.epochs * inputs.order.steps_per_epoch
    state = _start_or_resume(config, run, ranks)
    if state.step == 0:
        initialize_from_data(state.model, inputs.images(0), inputs.noise(0, state.model))
    balancing = balance_kl(optimization.kl_balancing, state.model.hierarchy.groups)
    health = _Health()
    reporter = Reporter(run, config, ranks)
    reporter.started(state, num_steps)
    state.model.train()
    stopped = False
    while state.step < num_steps and not stopped:
        weights = weights_at(
            state.step,
            num_steps=num_steps,
            steps_per_epoch=inputs.order.steps_per_epoch,
            optimization=optimization,
        )
        outcome = take_step(
            state,
            inputs.images(state.step),
            inputs.noise(state.step, state.model),
            weights=weights,
            balancing=balancing,
            penalize_batch_norm=optimization.batch_norm_penalty,
            stop_requested=stop.is_set(),
            max_gradient_norm=optimization.max_gradient_norm,
        )
        health.check(outcome)
        stopped = outcome.stop_agreed and state.step < num_steps
        reporter.step_taken(state.step, outcome, weights, is_last=state.step == num_steps)
        reporter.save_when_due(state)
    reporter.save(state)
    if not stopped:
        reporter.draw(state)
    return Result(
        status="stopped" if stopped else "succeeded",
        reason=ExitReason.STOPPED if stopped else None,
        step=state.step,
        values={
            "train_negative_elbo": health.negative_elbo(),
            "num_parameters": count_parameters(state.model),
            "train_seconds": time.perf_counter() - started_at,
        },
    )


def _start_or_resume(config: TrainConfig, run: RunDirectory, ranks: Ranks) -> TrainingState:
    state = start_training(config.model, config.optimization, seed=config.seed, device=ranks.device)
    if config.resume_from is not None:
        restore_training(state, run.path / config.resume_from)
    return state


class _Health:
    """Ends the run when the loss stays non-finite; keeps the last negative ELBOs."""

    def __init__(self) -> None:
        self._num_skipped = 0
        self._recent: deque[float] = deque(maxlen=FINAL_WINDOW)

    def check(self, outcome: StepOutcome) -> None:
        if outcome.was_taken:
            self._num_skipped = 0
            self._recent.append(outcome.values["negative_elbo"])
            return
        self._num_skipped += 1
        if self._num_skipped >= MAX_SKIPPED_STEPS:
            raise NonFiniteLoss(
                f"the loss or its gradient was not finite, or the gradient above its bound, "
                f"for {MAX_SKIPPED_STEPS} steps in a row"
            )

    def negative_elbo(self) -> float | None:
        return sum(self._recent) / len(self._recent) if self._recent else None
