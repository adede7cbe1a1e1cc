"""What users, workers, runners and the scheduler may do in any order."""

from dataclasses import replace

import pytest
import service_calls
from building import add_job
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from model import ABSENT
from observation import digest, needed_checkpoints, pass_time, rows

from services.api.jobs.submission import ForkOptions, fork_job
from services.database import checkpoints, control, garbage, jobs, nodes
from services.domain.errors import Conflict, LeaseLost
from services.domain.retry import STOP_REASONS
from services.domain.states import Reason, StopRequest
from services.worker.runner.assignment import load_assignment

numbers = st.integers(0, 63)
"""Which of a list whose length the rule knows only when it is run."""
MAX_JOBS = 6
RUN_SECONDS = 5000.0
specs = st.fixed_dictionaries(
    {
        "priority": st.sampled_from([50, 0, 100]),
        "max_run_seconds": st.sampled_from([None, None, RUN_SECONDS]),
        "resources": st.fixed_dictionaries(
            {"nodes": st.sampled_from([1, 1, 2]), "slots": st.integers(1, 2)}
        ),
    }
)
FAILURES = [
    *(Reason.TRAINER_CRASHED, Reason.NON_FINITE_LOSS, Reason.PEER_LOST, Reason.PORT_IN_USE),
    *(Reason.STORAGE_UNAVAILABLE, Reason.CHECKPOINT_CORRUPT, Reason.RUNNER_FAILED),
    *(Reason.NON_FINITE_LOSS, Reason.OUT_OF_MEMORY),
]
WRITES = [
    service_calls.make_ready,
    service_calls.renew,
    service_calls.look,
    load_assignment,
    lambda database, held: service_calls.add_metrics(database, held, {"loss": 0.0}),
    service_calls.add_checkpoint,
    service_calls.add_artifact,
    lambda database, held: service_calls.finish(database, held, Reason.SUCCEEDED),
]
MOMENT = 2000.0
"""Seconds; no sum of moments comes near to one of the time limits, so real time does not count."""
GRACE_SECONDS = 3000.0


def choose(items, number):
    """Return the one that a number means; the last is 0, so that small numbers mean new things."""
    return items[-1 - number % len(items)]


class Rules(RuleBasedStateMachine):
    """Rules are synchronous; what they do runs on one event loop."""

    node_ids = ("node_a", "node_b", "node_c")

    def do(self, work):
        """Return what a coroutine returns; nobody knows whether all is well before a check."""
        self.is_sound = False
        return self.runner.run(work)

    def ask(self, request, *args, is_refused=False, **options):
        """Make a request in a transaction; return whether it was accepted, as it has to be."""

        async def ask():
            async with self.database.transaction() as session:
                await request(session, *args, **options)

        if is_refused:
            self.fails(Conflict, ask())
        else:
            self.do(ask())
        return not is_refused

    def fails(self, error, work):
        """Check that a coroutine raises what it has to."""

        async def fail():
            with pytest.raises(error):
                await work

        self.do(fail())


class UserRules(Rules):
    """Jobs are submitted, stopped, resumed, changed and forked; nodes are cordoned and drained."""

    @precondition(lambda self: len(self.model.jobs) < MAX_JOBS)
    @rule(spec=specs)
    def submit(self, spec):
        job = self.do(add_job(self.database, **spec, checkpoint={"keep_last": 1}))
        self.model.jobs.append(job.id)

    @precondition(lambda self: self.model.jobs)
    @rule(number=numbers, forced=st.booleans())
    def cancel(self, number, forced):
        job_id = choose(self.model.jobs, number)
        ended = self.model.ended.get(job_id)
        is_refused = ended is not None and ended.status != "cancelled"
        if self.ask(control.cancel, job_id, forced=forced, is_refused=is_refused) and not ended:
            self._stop(job_id, StopRequest.CANCEL, Reason.CANCELLED_BY_USER, forced=forced)

    @precondition(lambda self: self.model.jobs)
    @rule(number=numbers)
    def pause(self, number):
        job_id = choose(self.model.jobs, number)
        is_cancelled = self.model.wanted.get(job_id) == StopRequest.CANCEL
        is_refused = job_id in self.model.ended or is_cancelled
        if self.ask(control.pause, job_id, is_refused=is_refused):
            self._stop(job_id, StopRequest.PAUSE, Reason.PAUSED_BY_USER)

    def _stop(self, job_id, request, reason, *, forced=False):
        self.model.wanted[job_id] = request
        self.may_end = {reason}  # where nobody has begun
        if attempt := self.model.live_attempt(job_id):
            attempt.request_stop(reason, forced=forced)

    @precondition(lambda self: self.model.jobs)
    @rule(number=numbers)
    def resume(self, number):
        job_id = choose(self.model.jobs, number)
        is_wanted = job_id not in self.model.wanted
        is_stopping = not is_wanted and self.model.live_attempt(job_id) is not None
        is_refused = job_id in self.model.ended or is_stopping
        if self.ask(control.resume, job_id, is_refused=is_refused):
            self.model.wanted.pop(job_id, None)

    @precondition(lambda self: self.model.jobs)
    @rule(number=numbers, priority=st.integers(0, 100))
    def change_priority(self, number, priority):
        job_id = choose(self.model.jobs, number)

        async def change(session, job_id):
            job = await jobs.find(session, job_id, lock=True)
            control.change(session, job, {"priority": priority})

        self.ask(change, job_id, is_refused=job_id in self.model.ended)

    @precondition(lambda self: self.model.checkpoints and len(self.model.jobs) < MAX_JOBS)
    @rule(number=numbers)
    def fork(self, number):
        job_id, _ = choose(list(self.model.checkpoints.values()), number)
        query = "SELECT id FROM checkpoints WHERE job_id = :job_id AND status = 'committed'"

        async def fork():
            async with self.database.transaction() as session:
                return await fork_job(session, job_id, ForkOptions(), project="default")

        if self.do(rows(self.database, query, job_id=job_id)):
            self.model.jobs.append(self.do(fork()).id)
        else:
            self.fails(Conflict, fork())

    @precondition(lambda self: self.model.checkpoints)
    @rule(number=numbers, pinned=st.booleans())
    def pin(self, number, pinned):
        checkpoint_id = choose(list(self.model.checkpoints), number)
        if pinned:
            self.ask(checkpoints.pin, checkpoint_id, is_refused=checkpoint_id in self.model.marked)
        else:
            self.ask(checkpoints.unpin, checkpoint_id)

    @rule(number=numbers, cordoned=st.sampled_from([False, False, True]))
    def cordon(self, number, cordoned):
        self.ask(nodes.cordon, choose(self.node_ids, number), cordoned=cordoned)

    @rule(number=numbers)
    def drain(self, number):
        node_id = choose(self.node_ids, number)
        self.ask(nodes.cordon, node_id, cordoned=True)
        query = "SELECT attempt_id FROM members WHERE node_id = :node_id AND status <> 'finished'"
        drained = self.do(rows(self.database, query, node_id=node_id))
        self.ask(control.drain, node_id)
        for (attempt_id,) in drained:
            self.model.attempts[attempt_id].request_stop(Reason.DRAINED)
        self.may_end = {Reason.DRAINED}


def someone_holds(self):
    return self.model.held


class RunnerRules(Rules):
    """Claims are held, renewed, written with, given back and lost."""

    @rule(number=numbers)
    def poll(self, number):
        self.claim(choose(self.node_ids, number))

    def claim(self, node_id):
        claims = self.do(service_calls.claim(self.database, node_id))
        self.model.take(claims, node_id, lease_seconds=service_calls.LEASE_SECONDS)

    @precondition(someone_holds)
    @rule(number=numbers)
    def make_ready(self, number):
        claim = choose(list(self.model.held), number)
        self.get_ready(claim)

    def get_ready(self, claim):
        orders = self.do(service_calls.make_ready(self.database, claim))
        self.model.attempt_of(claim).make_ready(claim.node_rank)
        assert orders == self.model.attempt_of(claim).orders()

    def get_all_ready(self):
        for claim in list(self.model.held):
            self.get_ready(claim)

    @precondition(someone_holds)
    @rule(number=numbers, renews=st.booleans())
    def hear(self, number, renews):
        claim = choose(list(self.model.held), number)
        if renews:
            orders = self.do(service_calls.renew(self.database, claim))
            self.model.held[claim].lease_until = self.model.now + service_calls.LEASE_SECONDS
        else:
            orders = self.do(service_calls.look(self.database, claim))
        assert orders == self.model.attempt_of(claim).orders()

    @precondition(someone_holds)
    @rule(number=numbers, step=st.integers(1, 5), value=st.floats(-1, 1, width=32))
    def publish_metrics(self, number, step, value):
        claim = choose(list(self.model.held), number)
        self.do(service_calls.add_metrics(self.database, claim, {"loss": value}, step=step))
        self.model.metrics[self.model.attempt_of(claim).job_id, "loss", step] = value

    @precondition(someone_holds)
    @rule(number=numbers, steps=st.lists(st.integers(1, 5), min_size=1, max_size=4))
    def publish_checkpoints(self, number, steps):
        claim = choose(list(self.model.held), number)
        for step in steps:
            self.publish_checkpoint(claim, step)

    def publish_checkpoint(self, claim, step):
        job_id = self.model.attempt_of(claim).job_id
        query = (
            "SELECT id FROM checkpoints WHERE job_id = :job_id AND step = :step"
            " AND (status = 'committed' OR attempt_id = :attempt_id)"
        )
        values = {"job_id": job_id, "step": step, "attempt_id": claim.attempt_id}
        known = self.do(rows(self.database, query, **values))
        before = self.do(digest(self.database))
        checkpoint_id = self.do(service_calls.add_checkpoint(self.database, claim, step=step))
        if known:
            assert self.do(digest(self.database)) == before
        else:
            self.model.checkpoints[checkpoint_id] = (job_id, step)

    @precondition(someone_holds)
    @rule(number=numbers)
    def publish_artifact(self, number):
        self.do(service_calls.add_artifact(self.database, choose(list(self.model.held), number)))

    @precondition(someone_holds)
    @rule(number=numbers, failure=st.sampled_from(FAILURES))
    def fail(self, number, failure):
        self.end(choose(list(self.model.held), number), failure)

    @precondition(someone_holds)
    @rule(number=numbers)
    def end_in_order(self, number):
        """Succeed, or stop as ordered; a runner that has no orders yet waits for them."""
        claim = choose(list(self.model.held), number)
        orders = self.model.attempt_of(claim).orders()
        if orders.stop in STOP_REASONS and claim.node_rank == 0:
            self.end(claim, orders.stop)
        elif orders.stop is not None or (orders.go and claim.node_rank > 0):
            self.end(claim, None)
        elif orders.go:
            self.end(claim, Reason.SUCCEEDED)

    def end(self, claim, reason):
        self.do(service_calls.finish(self.database, claim, reason))
        self.model.report(claim, reason)

    @rule(number=numbers)
    def restart_node(self, number):
        """The worker finds none of the runners that should be there, and claims what is new."""
        node_id = choose(self.node_ids, number)
        claims = self.do(service_calls.live_claims(self.database, node_id))
        assert set(claims) == {
            claim for claim, held in self.model.held.items() if held.node_id == node_id
        }
        for claim in claims:
            self.end(claim, Reason.WORKER_LOST)
        self.claim(node_id)

    @precondition(lambda self: self.model.lost or self.model.held)
    @rule(number=numbers, write=st.sampled_from(WRITES), is_old=st.booleans())
    def write_with_a_stale_claim(self, number, write, is_old):
        if self.model.lost and (is_old or not self.model.held):
            claim = choose(self.model.lost, number)
        else:
            claim = choose(list(self.model.held), number)
            claim = replace(claim, fence=claim.fence - 1)
        before = self.do(digest(self.database))
        self.fails(LeaseLost, write(self.database, claim))
        assert self.do(digest(self.database)) == before


class SchedulerRules(RunnerRules, Rules):
    """Ticks, doorbells, time and the collection of garbage."""

    @rule(mood=st.sampled_from(["rings", "doubles", "loses", "away"]))
    def tick(self, mood):
        """Tick as a scheduler does that has just been started; nodes look when their bell rings."""
        bell = service_calls.Bell()
        bell.mood = mood
        self.model.lose_expired()
        scheduler = service_calls.new_scheduler(self.database, bell)
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
        silent=st.sets(st.sampled_from(Rules.node_ids), max_size=2),
    )
    def let_time_pass(self, num_moments, silent):
        """Nodes look and runners renew their leases, but for those of the nodes that are silent."""
        seconds = num_moments * MOMENT
        self.do(pass_time_and_renew(self.database, self.model, seconds, silent=silent))

    @precondition(lambda self: self.model.checkpoints)
    @rule(buries=st.booleans())
    def collect(self, buries):
        needed = self.do(needed_checkpoints(self.database, grace_seconds=GRACE_SECONDS))
        marked = self.do(mark_garbage(self.database, self.model.jobs, buries=buries))
        assert not marked & needed
        self.model.marked |= marked


async def pass_time_and_renew(database, model, seconds, *, silent=frozenset()):
    """Let time pass on nodes that are alive, except the silent ones."""
    await pass_time(database, seconds)
    model.now += seconds
    for node_id in Rules.node_ids:
        if node_id not in silent:
            claims = await service_calls.claim(database, node_id)
            model.take(claims, node_id, lease_seconds=service_calls.LEASE_SECONDS)
    for claim, held in model.held.items():
        if held.node_id not in silent:
            assert await service_calls.renew(database, claim) == model.attempt_of(claim).orders()
            held.lease_until = model.now + service_calls.LEASE_SECONDS


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
