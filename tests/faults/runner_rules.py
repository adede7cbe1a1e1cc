"""Rules of workers and runners, those with a stale claim included; and what all rules use."""

from dataclasses import replace

import operations
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from snapshot import digest, rows

from services.domain.errors import Conflict, LeaseLost
from services.domain.retry import STOP_REASONS
from services.domain.states import Reason
from services.worker.runner.assignment import load_assignment

FAILURES = [
    *(Reason.TRAINER_CRASHED, Reason.NON_FINITE_LOSS, Reason.PEER_LOST, Reason.PORT_IN_USE),
    *(Reason.STORAGE_UNAVAILABLE, Reason.CHECKPOINT_CORRUPT, Reason.RUNNER_FAILED),
    *(Reason.NON_FINITE_LOSS, Reason.OUT_OF_MEMORY),
]
WRITES = [
    operations.make_ready,
    operations.renew,
    operations.look,
    load_assignment,
    lambda database, held: operations.add_metrics(database, held, {"loss": 0.0}),
    operations.add_checkpoint,
    operations.add_artifact,
    lambda database, held: operations.finish(database, held, Reason.SUCCEEDED),
]

which = st.integers(0, 63)
"""An index into a list whose length is known only when the rule runs."""


def pick(items, number):
    """Return the item an index means; 0 is the last one, so that small indices mean new items."""
    return items[-1 - number % len(items)]


class ServiceRules(RuleBasedStateMachine):
    """What all rules use. They are synchronous; their operations run on one event loop."""

    node_ids = ("node_a", "node_b", "node_c")

    def do(self, work):
        """Return what a coroutine returns; until the next check the state counts as broken."""
        self.is_sound = False
        return self.runner.run(work)

    def request(self, operation, *args, is_refused=False, **options):
        """Check whether an operation in a transaction is refused; return whether it was done."""

        async def run():
            async with self.database.transaction() as session:
                await operation(session, *args, **options)

        if is_refused:
            self.fails(Conflict, run())
        else:
            self.do(run())
        return not is_refused

    def fails(self, error, work):
        """Check that a coroutine raises this error."""

        async def fail():
            with pytest.raises(error):
                await work

        self.do(fail())


def has_claim(self):
    return self.model.held


class RunnerRules(ServiceRules):
    """Claims are taken, renewed, used for writes, ended and lost."""

    @rule(number=which)
    def poll(self, number):
        self.claim(pick(self.node_ids, number))

    def claim(self, node_id):
        claims = self.do(operations.claim(self.database, node_id))
        self.model.take(claims, node_id, lease_seconds=operations.LEASE_SECONDS)

    @precondition(has_claim)
    @rule(number=which)
    def make_ready(self, number):
        claim = pick(list(self.model.held), number)
        self.get_ready(claim)

    def get_ready(self, claim):
        orders = self.do(operations.make_ready(self.database, claim))
        self.model.attempt_of(claim).make_ready(claim.node_rank)
        assert orders == self.model.attempt_of(claim).orders()

    def get_all_ready(self):
        for claim in list(self.model.held):
            self.get_ready(claim)

    @precondition(has_claim)
    @rule(number=which, renews=st.booleans())
    def hear(self, number, renews):
        claim = pick(list(self.model.held), number)
        if renews:
            orders = self.do(operations.renew(self.database, claim))
            self.model.held[claim].lease_until = self.model.now + operations.LEASE_SECONDS
        else:
            orders = self.do(operations.look(self.database, claim))
        assert orders == self.model.attempt_of(claim).orders()

    @precondition(has_claim)
    @rule(number=which, step=st.integers(1, 5), value=st.floats(-1, 1, width=32))
    def publish_metrics(self, number, step, value):
        claim = pick(list(self.model.held), number)
        self.do(operations.add_metrics(self.database, claim, {"loss": value}, step=step))
        self.model.metrics[self.model.attempt_of(claim).job_id, "loss", step] = value

    @precondition(has_claim)
    @rule(number=which, steps=st.lists(st.integers(1, 5), min_size=1, max_size=4))
    def publish_checkpoints(self, number, steps):
        claim = pick(list(self.model.held), number)
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
        checkpoint_id = self.do(operations.add_checkpoint(self.database, claim, step=step))
        if known:
            assert self.do(digest(self.database)) == before
        else:
            self.model.checkpoints[checkpoint_id] = (job_id, step)

    @precondition(has_claim)
    @rule(number=which)
    def publish_artifact(self, number):
        self.do(operations.add_artifact(self.database, pick(list(self.model.held), number)))

    @precondition(has_claim)
    @rule(number=which, failure=st.sampled_from(FAILURES))
    def fail(self, number, failure):
        self.end(pick(list(self.model.held), number), failure)

    @precondition(has_claim)
    @rule(number=which)
    def end_in_order(self, number):
        """Succeed, or stop as ordered; a runner without orders waits."""
        claim = pick(list(self.model.held), number)
        orders = self.model.attempt_of(claim).orders()
        if orders.stop in STOP_REASONS and claim.node_rank == 0:
            self.end(claim, orders.stop)
        elif orders.stop is not None or (orders.go and claim.node_rank > 0):
            self.end(claim, None)
        elif orders.go:
            self.end(claim, Reason.SUCCEEDED)

    def end(self, claim, reason):
        self.do(operations.finish(self.database, claim, reason))
        self.model.report(claim, reason)

    @rule(number=which)
    def restart_node(self, number):
        """The worker starts anew, reports every runner as lost, and claims what was placed."""
        node_id = pick(self.node_ids, number)
        claims = self.do(operations.live_claims(self.database, node_id))
        assert set(claims) == {
            claim for claim, held in self.model.held.items() if held.node_id == node_id
        }
        for claim in claims:
            self.end(claim, Reason.WORKER_LOST)
        self.claim(node_id)

    @precondition(lambda self: self.model.lost or self.model.held)
    @rule(number=which, write=st.sampled_from(WRITES), is_old=st.booleans())
    def write_with_a_stale_claim(self, number, write, is_old):
        if self.model.lost and (is_old or not self.model.held):
            claim = pick(self.model.lost, number)
        else:
            claim = pick(list(self.model.held), number)
            claim = replace(claim, fence=claim.fence - 1)
        before = self.do(digest(self.database))
        self.fails(LeaseLost, write(self.database, claim))
        assert self.do(digest(self.database)) == before
