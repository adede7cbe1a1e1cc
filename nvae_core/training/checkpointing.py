"""When training saves, and what: checkpoints of rank 0 by the policy of the run."""

from types import TracebackType
from typing import Self

from nvae_core.config import TrainConfig
from nvae_core.run_directory import Phase, RunDirectory
from nvae_core.training.inputs import TrainingInputs
from nvae_core.training.phase_clock import PhaseClock
from nvae_core.training.resuming import trained_on
from nvae_core.training.saving import CheckpointSaver
from nvae_core.training.snapshot import take_snapshot
from nvae_core.training.state import TrainingState


class Checkpointing:
    """Saves on rank 0; on the others it does nothing. Leaving its block waits for the last save."""

    def __init__(
        self, run: RunDirectory, config: TrainConfig, inputs: TrainingInputs, clock: PhaseClock
    ) -> None:
        self._config = config
        self._inputs = inputs
        self._clock = clock
        self._saver = CheckpointSaver(run, config.checkpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._saver.close()

    def save_when_due(self, state: TrainingState) -> None:
        """Begin to save if the policy asks for it after this step; raise what went wrong before."""
        self._saver.check()
        if state.step % self._config.checkpoint.every_steps == 0:
            self._save(state)

    def save_last(self, state: TrainingState) -> None:
        """Save this step, unless there is a checkpoint of it, and wait for that.

        Raises:
            OSError: there was no room for it.
        """
        if not self._inputs.ranks.is_first:
            return
        if not self._saver.has_saved(state.step):
            self._save(state)
        self._saver.require(state.step)

    def _save(self, state: TrainingState) -> None:
        if not self._inputs.ranks.is_first:
            return
        self._clock.enter(Phase.SAVE, state.step)
        self._saver.save(
            take_snapshot(
                state,
                optimization=self._config.optimization,
                seed=self._config.seed,
                compute=self._config.compute,
                trained_on=trained_on(self._inputs),
            )
        )
