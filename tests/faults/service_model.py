"""A model of the service in memory: what was accepted, claimed, written and reported."""

from dataclasses import dataclass, field

from services.database.attempts import Orders, is_failure
from services.domain.retry import first_cause
from services.domain.states import Reason, StopRequest

ABSENT = {Reason.NOT_CLAIMED, Reason.NODE_LOST, Reason.WORKER_LOST, Reason.NODE_NOT_READY}
"""Reasons with which the scheduler ends attempts of silent nodes and runners."""


@dataclass
class HeldClaim:
    """A claim that a runner holds."""

    node_id: str
    lease_until: float


@dataclass
class LiveAttempt:
    """An attempt that has not ended, and the orders of its runners."""

    job_id: str
    num_nodes: int
    ready: set[int] = field(default_factory=set)
    runs: bool = False
    stop: Reason | None = None
    forced: bool = False
    reason: Reason | None = None

    def orders(self):
        """Return what every runner of it has to hear."""
        if is_failure(self.reason):
            return Orders(go=False, stop=self.reason, forced=True)
        return Orders(go=self.runs, stop=self.stop, forced=self.forced)

    def make_ready(self, node_rank):
        """Note that a node is ready; the last one starts the trainers, unless they are to stop."""
        self.ready.add(node_rank)
        if len(self.ready) == self.num_nodes and self.stop is None and self.reason is None:
            self.runs = True

    def request_stop(self, reason, *, forced=False):
        """Note what its runners were asked for."""
        self.stop = self.stop or reason
        self.forced = self.forced or forced

    def report(self, reason):
        """Note a cause of its end."""
        if reason is not None and first_cause(self.reason, reason):
            self.reason = reason


@dataclass
class ServiceModel:
    """All state that operations have made, and the virtual time."""

    now: float = 0.0
    jobs: list[str] = field(default_factory=list)
    wanted: dict[str, StopRequest] = field(default_factory=dict)  # by job, of users
    ended: dict[str, object] = field(default_factory=dict)  # rows of jobs
    reported: dict[str, set[Reason]] = field(default_factory=dict)  # by job, of runners
    attempts: dict[str, LiveAttempt] = field(default_factory=dict)
    held: dict = field(default_factory=dict)  # by claim
    lost: list = field(default_factory=list)  # claims that are stale
    metrics: dict[tuple[str, str, int], float] = field(default_factory=dict)
    checkpoints: dict[str, tuple[str, int]] = field(default_factory=dict)  # job and step
    marked: set[str] = field(default_factory=set)  # checkpoints that go

    def take(self, claims, node_id, *, lease_seconds):
        """Note that a worker has got claims, each for the first time."""
        for claim in claims:
            assert claim not in self.held, f"{claim} was claimed twice"
            assert claim not in self.lost, f"{claim} was claimed again after its end"
            self.held[claim] = HeldClaim(node_id, self.now + lease_seconds)

    def lose(self, claim):
        """Note that a claim is stale from now on."""
        del self.held[claim]
        self.lost.append(claim)

    def lose_expired(self):
        """Note what the scheduler takes from runners that were silent."""
        for claim in [claim for claim, held in self.held.items() if held.lease_until < self.now]:
            self.lose(claim)

    def attempt_of(self, claim):
        """Return the attempt of a claim that is good."""
        return self.attempts[claim.attempt_id]

    def live_attempt(self, job_id):
        """Return the attempt of a job that has not ended, if there is one."""
        attempts = (attempt for attempt in self.attempts.values() if attempt.job_id == job_id)
        return next(attempts, None)

    def report(self, claim, reason):
        """Note what a runner says of the end of its attempt, and that it has let go of it."""
        attempt = self.attempt_of(claim)
        attempt.report(reason)
        self.reported.setdefault(attempt.job_id, set()).add(reason)
        self.lose(claim)

    def compare(self, seen, *, may_stop=frozenset(), may_end=frozenset()):
        """Check everything against the database, and adopt what only the service decides.

        Args:
            seen: a snapshot of the database.
            may_stop: the reasons for which an attempt may have been stopped by others.
            may_end: the reasons of its end that others than its runners may have reported.
        """
        assert seen.job_ids == set(self.jobs)
        for job_id, row in self.ended.items():
            assert seen.ended.get(job_id) == row, f"{row} changed after its end"
        self.ended = seen.ended
        assert {claim: held.node_id for claim, held in self.held.items()} == seen.held
        assert seen.metrics == self.metrics
        assert seen.checkpoints == self.checkpoints
        assert seen.marked == self.marked
        for row in seen.attempts:
            self._compare_attempt(row, may_stop=may_stop, may_end=may_end)
        live = {row.id for row in seen.attempts}
        self.attempts = {id_: known for id_, known in self.attempts.items() if id_ in live}

    def _compare_attempt(self, row, *, may_stop, may_end):
        known = self.attempts.setdefault(row.id, LiveAttempt(row.job_id, row.num_nodes))
        if row.stop_reason != known.stop:
            assert known.stop is None, f"{row} was to stop for {known.stop}"
            assert row.stop_reason in may_stop, f"nobody asked for {row}"
            known.stop = Reason(row.stop_reason)
        assert row.stop_forced == known.forced, f"{row} is forced, or is not"
        if row.reason != known.reason:
            assert row.reason in may_end, f"nobody reported {row}"
            assert first_cause(known.reason, Reason(row.reason)), f"{row} forgot {known.reason}"
            known.reason = Reason(row.reason)
