"""A runner of a scenario: it gets ready, publishes, and ends, one named act after the other."""

import parties
from crashing_database import Crashed

from nvae_core.run_directory import NoticeLine
from services.database import jobs, metrics
from services.database.attempts import fenced_write
from services.domain.errors import LeaseLost
from services.domain.retry import STOP_REASONS
from services.domain.states import Reason
from services.worker.runner.assignment import load_assignment

RESULT = {"step": 2}
BEFORE_GO = {"loads": load_assignment, "gets ready": parties.make_ready}


async def tell_totals(database, claim):
    async with fenced_write(database, claim) as (session, attempt):
        await metrics.set_totals(session, attempt, num_steps=2, num_parameters=7)


async def add_metrics(database, claim):
    await parties.add_metrics(database, claim, {"loss": 1.0, "bits_per_dim": 2.0}, step=2)


async def add_notice(database, claim):
    line = NoticeLine(at=0.0, name="disk_low", message="there is little room", step=1)
    async with fenced_write(database, claim) as (session, attempt):
        await jobs.add_notice(session, attempt, line)


async def succeed(database, claim):
    await parties.finish(database, claim, Reason.SUCCEEDED, result=RESULT)


AFTER_GO = {
    "tells totals": tell_totals,
    "adds metrics": add_metrics,
    "gives notice": add_notice,
    "adds a checkpoint": parties.add_checkpoint,
    "adds an artifact": parties.add_artifact,
    "succeeds": succeed,
}
"""Of rank 0; the others only train, and end."""


class Runner:
    """A process that knows what it has done, until it crashes or loses its lease."""

    def __init__(self, claim, node_id):
        self.claim = claim
        self.node_id = node_id
        self.is_silent = False
        self._todo = list(BEFORE_GO.items())
        self._has_started = False
        self.has_trained = False  # with its peers: all ranks leave at the same step

    async def work(self, scenario):
        """Do all that can be done in this round."""
        if self.is_silent:  # a process that is stopped: its worker sees that it is there
            return
        try:
            await self._work(scenario)
        except Crashed:
            self.is_silent = not scenario.repeats
        except LeaseLost:
            scenario.runners.remove(self)

    async def _work(self, scenario):
        orders = await self._act(scenario, "renews", parties.renew)
        if orders.stop is not None:
            says = orders.stop in STOP_REASONS and self.claim.node_rank == 0
            await self._end(scenario, "stops", orders.stop if says else None)
            return
        if orders.go and not self._has_started:
            self._has_started = True
            self._todo = list(AFTER_GO.items()) if self.claim.node_rank == 0 else []
        while self._todo:
            name, act = self._todo[0]
            if name == "adds an artifact":
                if scenario.holds_up(self):
                    return
                self.has_trained = True
            await self._act(scenario, name, act)
            scenario.is_checkpoint_there |= name == "adds a checkpoint"
            self._todo.pop(0)
        if self.claim.node_rank == 0 and self._has_started:
            scenario.runners.remove(self)
        elif self._has_started and not scenario.holds_up(self):
            self.has_trained = True
            await self._end(scenario, "ends", None)

    async def _end(self, scenario, name, reason):
        async def end(database, claim):
            await parties.finish(database, claim, reason)

        await self._act(scenario, name, end)
        scenario.runners.remove(self)

    async def _act(self, scenario, name, act):
        with scenario.database.act(f"runner {self.claim.node_rank} {name}"):
            return await act(scenario.database, self.claim)
