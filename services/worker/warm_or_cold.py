"""A sample run: by a resident sampler where one is there, else by a process of its own.

A resident has its models loaded, so that a picture takes a fraction of a second instead of the
seconds in which torch is imported. A node has one for its cores, or one for each of its GPUs. It is
there when it was wanted before: the first run finds none, and leaves word for the worker.
"""

from pathlib import Path

import structlog

from services.domain.statuses import Reason
from services.worker.resident_access import WANTED_NAME, connect, resident_folder
from services.worker.trainer import RunningTrainer, Trainer, TrainerPlan
from services.worker.warm_sampling import WarmSampling

log = structlog.get_logger()


class WarmOrCold:
    """A sample run that a resident was asked for, and a process of its own if it did not begin.

    It may have ended meanwhile, because it was idle, or was killed, or its GPU is wanted.
    """

    def __init__(self, plan: TrainerPlan, warm: WarmSampling) -> None:
        self._plan = plan
        self._warm = warm
        self._current: RunningTrainer = warm
        self._is_wanted = True

    @property
    def reason_without_result(self) -> Reason:
        """Of whatever carries it out."""
        return self._current.reason_without_result

    def is_running(self) -> bool:
        """Whether it is there; starts the process, where the resident is gone."""
        is_running = self._current.is_running()
        if self._current is not self._warm:
            return is_running
        if is_running:
            return self._warm.has_begun or not self._plan.run_directory.stop_requested()
        if self._warm.has_begun or not self._is_wanted:
            return False
        log.info("sampler.did_not_begin")
        self._warm.close()
        self._current = Trainer(self._plan)
        return True

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than it runs, where that can be seen."""
        await self._current.pause(seconds)

    def exit_code(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""
        return self._current.exit_code()

    def terminate(self) -> None:
        """Ask it to end."""
        self._is_wanted = False
        self._current.terminate()

    async def kill(self) -> set[int]:
        """End it; return the pids of what resists."""
        self._is_wanted = False
        return await self._current.kill()

    def last_log_lines(self, count: int = 20) -> str:
        """Return the end of what it printed."""
        return self._current.last_log_lines(count)

    def torchrun_log(self) -> str:
        """Return nothing: there is no torchrun."""
        return ""


def try_warm(plan: TrainerPlan, data_folder: Path) -> WarmOrCold | None:
    """Let the resident carry out the plan; without one return None, and leave word for it."""
    folder = resident_folder(data_folder, plan.slot_kind, plan.slots[0])
    connection = connect(folder)
    if connection is not None:
        try:
            return WarmOrCold(plan, WarmSampling(plan, connection))
        except OSError:
            connection.close()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WANTED_NAME).touch()
    return None
