"""One training job over two nodes: client, scheduler, workers, runners and user take turns.

A component that crashes is started again; a client or runner may also stay away.
"""

from contextlib import suppress
from enum import StrEnum

import operations
from building import add_job
from crash_database import Crashed
from snapshot import rows

from nvae_core.run_directory import NoticeLine
from services.database import completion, control, jobs, metrics
from services.database.attempts import fenced_write
from services.database.completion import Outcome
from services.domain.errors import LeaseLost
from services.domain.retry import STOP_REASONS
from services.domain.states import Reason
from services.worker.runner.assignment import load_assignment

ROUND_SECONDS = 2000.0
"""A lease runs out when it is not renewed in two rounds."""

MAX_ROUNDS = 12
NODES = ("node_a", "node_b", "node_c")
RESULT = {"step": 2}


class Fault(StrEnum):
    """What happens to the job once its first checkpoint is there."""

    NONE = "nothing"
    CANCEL = "cancel"
    LOST_NODE = "lost node"


class Scenario:
    """The components, and what only they know."""

    def __init__(self, database, *, observer, fault=Fault.NONE, repeats=True):
        """Prepare the components.

        Args:
            database: of the components; it may crash.
            observer: the same database, which does not.
            fault: what happens besides the crash.
            repeats: whether a client or runner that crashed does the same again, or is gone.
        """
        self.database = database
        self.observer = observer
        self.fault = fault
        self.repeats = repeats
        self.awaits_fault = fault != Fault.NONE
        self.is_checkpoint_there = False
        self.runners = []
        self.silent_nodes = set()

    async def run(self):
        """Let all components work in turn until every job has ended."""
        await self._submit()
        for _ in range(MAX_ROUNDS):
            if not await rows(self.observer, "SELECT FROM jobs WHERE finished_at IS NULL"):
                return
            await self._run_round()
        states = await rows(self.observer, "SELECT id, status, reason, message FROM jobs")
        raise AssertionError(f"after {MAX_ROUNDS} rounds: {states}")

    def must_wait(self, runner):
        """Whether a trainer cannot end yet: the fault is to come, or a peer does not answer."""
        return self.awaits_fault or any(
            peer.is_silent or peer.node_id in self.silent_nodes
            for peer in self.runners
            if peer.claim.attempt_id == runner.claim.attempt_id and not peer.has_trained
        )

    async def _submit(self):
        resources = {"nodes": 2, "slots": 1}
        with self.database.operation("client submits"):
            try:
                await add_job(self.database, resources=resources)
            except Crashed:
                if self.repeats:
                    await add_job(self.database, resources=resources)

    async def _run_round(self):
        await operations.advance_time(self.observer, ROUND_SECONDS)
        with suppress(Crashed):  # the next round has a new one
            await self._schedule()
        for node_id in NODES:
            if node_id not in self.silent_nodes:
                with suppress(Crashed):
                    await self._look(node_id)
        for runner in list(self.runners):
            if runner.node_id not in self.silent_nodes:
                await runner.work(self)
        if self.awaits_fault and self.is_checkpoint_there:
            with suppress(Crashed):  # the user tries again in the next round
                await self._inject_fault()

    async def _schedule(self):
        scheduler = operations.new_scheduler(self.database, operations.FakeBroker())
        for name, act in (
            ("expires", scheduler.expire),
            ("stops", scheduler.stop_overdue),
            ("places", scheduler.place),
            ("rings", scheduler.publish),
        ):
            with self.database.operation(f"scheduler {name}"):
                await act()

    async def _look(self, node_id):
        with self.database.operation(f"worker {node_id} claims"):
            claims = await operations.claim(self.database, node_id)
        self.runners += [Runner(claim, node_id) for claim in claims]
        with self.database.operation(f"worker {node_id} looks"):
            live = await operations.live_claims(self.database, node_id)
        running = {runner.claim for runner in self.runners}
        for claim in live:
            if claim not in running:
                ending = Outcome(Reason.WORKER_LOST, "the runner died")
                with self.database.operation(f"worker {node_id} tells of a loss"):
                    await completion.finish_if_live(self.database, claim, ending)

    async def _inject_fault(self):
        if self.fault == Fault.LOST_NODE:
            self.silent_nodes.add(next(it.node_id for it in self.runners if it.claim.node_rank))
        else:
            [job] = await rows(self.observer, "SELECT id FROM jobs")
            with self.database.operation("user cancels"):
                async with self.database.transaction() as session:
                    await control.cancel(session, job.id)
        self.awaits_fault = False


async def tell_totals(database, claim):
    async with fenced_write(database, claim) as (session, attempt):
        await metrics.set_totals(
            session, attempt, num_steps=2, num_parameters=7, device={"name": "cpu"}
        )


async def add_metrics(database, claim):
    await operations.add_metrics(database, claim, {"loss": 1.0, "bits_per_dim": 2.0}, step=2)


async def add_notice(database, claim):
    line = NoticeLine(at=0.0, name="disk_low", message="there is little room", step=1)
    async with fenced_write(database, claim) as (session, attempt):
        await jobs.add_notice(session, attempt, line)


async def succeed(database, claim):
    await operations.finish(database, claim, Reason.SUCCEEDED, result=RESULT)


BEFORE_GO = {"loads": load_assignment, "gets ready": operations.make_ready}
AFTER_GO = {
    "tells totals": tell_totals,
    "adds metrics": add_metrics,
    "gives notice": add_notice,
    "adds a checkpoint": operations.add_checkpoint,
    "adds an artifact": operations.add_artifact,
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
        orders = await self._act(scenario, "renews", operations.renew)
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
                if scenario.must_wait(self):
                    return
                self.has_trained = True
            await self._act(scenario, name, act)
            scenario.is_checkpoint_there |= name == "adds a checkpoint"
            self._todo.pop(0)
        if self.claim.node_rank == 0 and self._has_started:
            scenario.runners.remove(self)
        elif self._has_started and not scenario.must_wait(self):
            self.has_trained = True
            await self._end(scenario, "ends", None)

    async def _end(self, scenario, name, reason):
        async def end(database, claim):
            await operations.finish(database, claim, reason)

        await self._act(scenario, name, end)
        scenario.runners.remove(self)

    async def _act(self, scenario, name, act):
        with scenario.database.operation(f"runner {self.claim.node_rank} {name}"):
            return await act(scenario.database, self.claim)
