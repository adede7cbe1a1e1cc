"""Rules of the scheduler, with a broker that fails in every way, while time passes."""

import operations
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from runner_rules import RunnerRules
from service_model import ABSENT
from snapshot import needed_checkpoints

from services.database import garbage
from services.domain.states import Reason

STEP_SECONDS = 2000.0
"""No sum of steps comes near to one of the time limits, so real time does not count."""

GRACE_SECONDS = 3000.0


class SchedulerRules(RunnerRules):
    """Ticks, doorbells, time and the collection of garbage."""

    @rule(doorbell=st.sampled_from(["once", "twice", "never", "away"]))
    def tick(self, doorbell):
        """Tick as a scheduler that was just started; nodes poll when their doorbell rings."""
        broker = operations.FakeBroker(doorbell)
        self.model.lose_expired()
        scheduler = operations.new_scheduler(self.database, broker)
        self.do(scheduler.tick())
        self.do(scheduler.publish())
        self.may_end = ABSENT
        self.may_stop = {Reason.DEADLINE_EXCEEDED}
        for node_id in broker.delivered:
            self.claim(node_id)

    @rule()
    def start(self):
        """Start all jobs that can be started."""
        self.tick("once")
        self.check()
        self.get_all_ready()

    @rule(
        num_steps=st.sampled_from([1, 3, 20]),
        silent=st.sets(st.sampled_from(RunnerRules.node_ids), max_size=2),
    )
    def let_time_pass(self, num_steps, silent):
        """Nodes poll and runners renew their leases, except on silent nodes."""
        seconds = num_steps * STEP_SECONDS
        self.do(advance_and_renew(self.database, self.model, seconds, silent=silent))

    @precondition(lambda self: self.model.checkpoints)
    @rule(deletes=st.booleans())
    def collect(self, deletes):
        needed = self.do(needed_checkpoints(self.database, grace_seconds=GRACE_SECONDS))
        marked = self.do(mark_garbage(self.database, self.model.jobs, deletes=deletes))
        assert not marked & needed
        self.model.marked |= marked


async def advance_and_renew(database, model, seconds, *, silent=frozenset()):
    """Advance time; the nodes that are not silent poll and renew."""
    await operations.advance_time(database, seconds)
    model.now += seconds
    for node_id in RunnerRules.node_ids:
        if node_id not in silent:
            claims = await operations.claim(database, node_id)
            model.take(claims, node_id, lease_seconds=operations.LEASE_SECONDS)
    for claim, held in model.held.items():
        if held.node_id not in silent:
            assert await operations.renew(database, claim) == model.attempt_of(claim).orders()
            held.lease_until = model.now + operations.LEASE_SECONDS


async def mark_garbage(database, job_ids, *, deletes):
    """Mark checkpoints as the garbage collection does; return their ids."""
    marked = set()
    for job_id in job_ids:
        async with database.transaction() as session:
            garbage_rows = await garbage.lock_garbage(session, job_id, grace_seconds=GRACE_SECONDS)
            ids = [checkpoint.id for checkpoint, _ in garbage_rows]
            await garbage.mark(session, ids)
        marked |= set(ids)
        for checkpoint_id in ids if deletes else []:
            async with database.transaction() as session:
                await garbage.bury(session, checkpoint_id)
    return marked
