"""One training job over two nodes, played by parties that are started anew after a crash."""

from contextlib import suppress
from enum import StrEnum

import parties
from building import add_job
from crashing_database import Crashed
from observed_rows import rows
from runner_acts import Runner
from virtual_time import let_pass

from services.database import completion, control
from services.database.completion import Outcome
from services.domain.states import Reason

ROUND_SECONDS = 2000.0
"""A lease runs out when it is not renewed in two rounds."""

MAX_ROUNDS = 12
NODES = ("node_a", "node_b", "node_c")


class Fault(StrEnum):
    """What happens to the job once its first checkpoint is there."""

    NONE = "nothing"
    CANCEL = "cancel"
    LOST_NODE = "lost node"


class Scenario:
    """The parties, and what only they know."""

    def __init__(self, database, *, witness, fault=Fault.NONE, repeats=True):
        """Set the stage.

        Args:
            database: of the parties; it may crash.
            witness: the same database, which does not.
            fault: what happens besides the crash.
            repeats: whether a client or runner that crashed does the same again, or is gone.
        """
        self.database = database
        self.witness = witness
        self.fault = fault
        self.repeats = repeats
        self.awaits_fault = fault != Fault.NONE
        self.is_checkpoint_there = False
        self.runners = []
        self.silent_nodes = set()

    async def play(self):
        """Let all parties work in turn until every job has ended."""
        await self._submit()
        for _ in range(MAX_ROUNDS):
            if not await rows(self.witness, "SELECT FROM jobs WHERE finished_at IS NULL"):
                return
            await self._play_round()
        states = await rows(self.witness, "SELECT id, status, reason, message FROM jobs")
        raise AssertionError(f"after {MAX_ROUNDS} rounds: {states}")

    def holds_up(self, runner):
        """Whether a trainer cannot end yet: a fault is to come, or a peer's does not answer."""
        return self.awaits_fault or any(
            peer.is_silent or peer.node_id in self.silent_nodes
            for peer in self.runners
            if peer.claim.attempt_id == runner.claim.attempt_id and not peer.has_trained
        )

    async def _submit(self):
        resources = {"nodes": 2, "slots": 1}
        with self.database.act("client submits"):
            try:
                await add_job(self.database, resources=resources)
            except Crashed:
                if self.repeats:
                    await add_job(self.database, resources=resources)

    async def _play_round(self):
        await let_pass(self.witness, ROUND_SECONDS)
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
                await self._let_happen()

    async def _schedule(self):
        scheduler = parties.new_scheduler(self.database, parties.Bell())
        for name, act in (
            ("expires", scheduler.expire),
            ("stops", scheduler.stop_overdue),
            ("places", scheduler.place),
            ("rings", scheduler.publish),
        ):
            with self.database.act(f"scheduler {name}"):
                await act()

    async def _look(self, node_id):
        with self.database.act(f"worker {node_id} claims"):
            claims = await parties.claim(self.database, node_id)
        self.runners += [Runner(claim, node_id) for claim in claims]
        with self.database.act(f"worker {node_id} looks"):
            live = await parties.live_claims(self.database, node_id)
        running = {runner.claim for runner in self.runners}
        for claim in live:
            if claim not in running:
                ending = Outcome(Reason.WORKER_LOST, "the runner died")
                with self.database.act(f"worker {node_id} tells of a loss"):
                    await completion.finish_if_live(self.database, claim, ending)

    async def _let_happen(self):
        if self.fault == Fault.LOST_NODE:
            self.silent_nodes.add(next(it.node_id for it in self.runners if it.claim.node_rank))
        else:
            [job] = await rows(self.witness, "SELECT id FROM jobs")
            with self.database.act("user cancels"):
                async with self.database.transaction() as session:
                    await control.cancel(session, job.id)
        self.awaits_fault = False
