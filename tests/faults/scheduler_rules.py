"""What the scheduler does, over a broker that may do anything, while time passes."""

import parties
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from machine_base import MachineBase
from observed_rows import needed_checkpoints
from runner_rules import RunnerRules
from service_model import ABSENT
from virtual_time import let_pass

from services.database import garbage
from services.domain.states import Reason

MOMENT = 2000.0
"""Seconds; no sum of moments comes near to one of the time limits, so real time does not count."""

GRACE_SECONDS = 3000.0


class SchedulerRules(RunnerRules, MachineBase):
    """Ticks, doorbells, time and the collection of garbage."""

    @rule(mood=st.sampled_from(["rings", "doubles", "loses", "away"]))
    def tick(self, mood):
        """Tick as a scheduler does that has just been started; nodes look when their bell rings."""
        bell = parties.Bell()
        bell.mood = mood
        self.model.lose_expired()
        scheduler = parties.new_scheduler(self.database, bell)
        self.do(scheduler.tick())
        self.do(scheduler.publish())
        self.may_end = ABSENT
        self.may_stop = {Reason.DEADLINE_EXCEEDED}
        for node_id in bell.rung:
            self.claim(node_id)

    @rule()
    def start(self):
        """Let everybody do what starts the jobs that can be started."""
        self.tick("rings")
        self.check()
        self.get_all_ready()

    @rule(
        num_moments=st.sampled_from([1, 3, 20]),
        silent=st.sets(st.sampled_from(MachineBase.node_ids), max_size=2),
    )
    def let_time_pass(self, num_moments, silent):
        """Nodes look and runners renew their leases, but for those of the nodes that are silent."""
        seconds = num_moments * MOMENT
        self.do(let_pass_and_renew(self.database, self.model, seconds, silent=silent))

    @precondition(lambda self: self.model.checkpoints)
    @rule(buries=st.booleans())
    def collect(self, buries):
        needed = self.do(needed_checkpoints(self.database, grace_seconds=GRACE_SECONDS))
        marked = self.do(mark_garbage(self.database, self.model.jobs, buries=buries))
        assert not marked & needed
        self.model.marked |= marked


async def let_pass_and_renew(database, model, seconds, *, silent=frozenset()):
    """Let time pass on nodes that are alive, except the silent ones."""
    await let_pass(database, seconds)
    model.now += seconds
    for node_id in MachineBase.node_ids:
        if node_id not in silent:
            claims = await parties.claim(database, node_id)
            model.take(claims, node_id, lease_seconds=parties.LEASE_SECONDS)
    for claim, held in model.held.items():
        if held.node_id not in silent:
            assert await parties.renew(database, claim) == model.attempt_of(claim).orders()
            held.lease_until = model.now + parties.LEASE_SECONDS


async def mark_garbage(database, job_ids, *, buries):
    """Mark what is not needed any more, as the collection does; return the ids."""
    marked = set()
    for job_id in job_ids:
        async with database.transaction() as session:
            found = await garbage.lock_garbage(session, job_id, grace_seconds=GRACE_SECONDS)
            ids = [checkpoint.id for checkpoint, _ in found]
            await garbage.mark(session, ids)
        marked |= set(ids)
        for checkpoint_id in ids if buries else []:
            async with database.transaction() as session:
                await garbage.bury(session, checkpoint_id)
    return marked
