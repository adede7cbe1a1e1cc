"""What workers and runners do, those included that should not write any more."""

from dataclasses import replace

import parties
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from machine_base import MachineBase, chosen, which
from observed_rows import digest, rows

from services.domain.errors import LeaseLost
from services.domain.retry import STOP_REASONS
from services.domain.states import Reason
from services.worker.runner.assignment import load_assignment

FAILURES = [
    *(Reason.TRAINER_CRASHED, Reason.NON_FINITE_LOSS, Reason.PEER_LOST, Reason.PORT_IN_USE),
    *(Reason.STORAGE_UNAVAILABLE, Reason.CHECKPOINT_CORRUPT, Reason.RUNNER_FAILED),
    *(Reason.NON_FINITE_LOSS, Reason.OUT_OF_MEMORY),
]
WRITES = [
    parties.make_ready,
    parties.renew,
    parties.look,
    load_assignment,
    lambda database, held: parties.add_metrics(database, held, {"loss": 0.0}),
    parties.add_checkpoint,
    parties.add_artifact,
    lambda database, held: parties.finish(database, held, Reason.SUCCEEDED),
]


def someone_holds(self):
    return self.model.held


class RunnerRules(MachineBase):
    """Claims are held, renewed, written with, given back and lost."""

    @rule(number=which)
    def poll(self, number):
        self.claim(chosen(self.node_ids, number))

    def claim(self, node_id):
        claims = self.do(parties.claim(self.database, node_id))
        self.model.take(claims, node_id, lease_seconds=parties.LEASE_SECONDS)

    @precondition(someone_holds)
    @rule(number=which)
    def make_ready(self, number):
        claim = chosen(list(self.model.held), number)
        self.get_ready(claim)

    def get_ready(self, claim):
        orders = self.do(parties.make_ready(self.database, claim))
        self.model.attempt_of(claim).make_ready(claim.node_rank)
        assert orders == self.model.attempt_of(claim).orders()

    def get_all_ready(self):
        for claim in list(self.model.held):
            self.get_ready(claim)

    @precondition(someone_holds)
    @rule(number=which, renews=st.booleans())
    def hear(self, number, renews):
        claim = chosen(list(self.model.held), number)
        if renews:
            orders = self.do(parties.renew(self.database, claim))
            self.model.held[claim].lease_until = self.model.now + parties.LEASE_SECONDS
        else:
            orders = self.do(parties.look(self.database, claim))
        assert orders == self.model.attempt_of(claim).orders()

    @precondition(someone_holds)
    @rule(number=which, step=st.integers(1, 5), value=st.floats(-1, 1, width=32))
    def publish_metrics(self, number, step, value):
        claim = chosen(list(self.model.held), number)
        self.do(parties.add_metrics(self.database, claim, {"loss": value}, step=step))
        self.model.metrics[self.model.attempt_of(claim).job_id, "loss", step] = value

    @precondition(someone_holds)
    @rule(number=which, steps=st.lists(st.integers(1, 5), min_size=1, max_size=4))
    def publish_checkpoints(self, number, steps):
        claim = chosen(list(self.model.held), number)
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
        checkpoint_id = self.do(parties.add_checkpoint(self.database, claim, step=step))
        if known:
            assert self.do(digest(self.database)) == before
        else:
            self.model.checkpoints[checkpoint_id] = (job_id, step)

    @precondition(someone_holds)
    @rule(number=which)
    def publish_artifact(self, number):
        self.do(parties.add_artifact(self.database, chosen(list(self.model.held), number)))

    @precondition(someone_holds)
    @rule(number=which, failure=st.sampled_from(FAILURES))
    def fail(self, number, failure):
        self.end(chosen(list(self.model.held), number), failure)

    @precondition(someone_holds)
    @rule(number=which)
    def end_in_order(self, number):
        """Succeed, or stop as ordered; a runner that has no orders yet waits for them."""
        claim = chosen(list(self.model.held), number)
        orders = self.model.attempt_of(claim).orders()
        if orders.stop in STOP_REASONS and claim.node_rank == 0:
            self.end(claim, orders.stop)
        elif orders.stop is not None or (orders.go and claim.node_rank > 0):
            self.end(claim, None)
        elif orders.go:
            self.end(claim, Reason.SUCCEEDED)

    def end(self, claim, reason):
        self.do(parties.finish(self.database, claim, reason))
        self.model.report(claim, reason)

    @rule(number=which)
    def restart_node(self, number):
        """The worker finds none of the runners that should be there, and claims what is new."""
        node_id = chosen(self.node_ids, number)
        claims = self.do(parties.live_claims(self.database, node_id))
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
            claim = chosen(self.model.lost, number)
        else:
            claim = chosen(list(self.model.held), number)
            claim = replace(claim, fence=claim.fence - 1)
        before = self.do(digest(self.database))
        self.fails(LeaseLost, write(self.database, claim))
        assert self.do(digest(self.database)) == before
