"""Jobs on real Postgres under any order of operations and faults, compared with a model.

`NVAE_FAULTS=full` searches for minutes instead of seconds, `NVAE_FAULTS_SEED=…` elsewhere.
"""

import asyncio

import operations
import pytest
from building import add_dataset, empty
from fault_profile import IS_FULL, SEED
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, run_state_machine_as_test
from invariants import verify_in
from scheduler_rules import SchedulerRules, advance_and_renew
from service_model import ABSENT, ServiceModel
from snapshot import rows, take_snapshot
from user_rules import UserRules, specs

from services.database import nodes
from services.database.session import Database
from services.domain.retry import RETRY_RULES, STOP_REASONS
from services.domain.states import Reason, StopRequest
from services.settings import DatabaseSettings

NUM_PARTS = 5  # each a test, with a seed of its own
QUICK = {"max_examples": 5, "stateful_step_count": 30}
FULL = {"max_examples": 60, "stateful_step_count": 50}

PAUSE_SECONDS = 400.0
"""Longer than any delay before a retry, and far shorter than a lease."""


@pytest.mark.parametrize("part", range(NUM_PARTS))
def test_jobs_keep_every_invariant_in_any_order_of_operations_and_faults(servers, part):
    print(f"NVAE_FAULTS_SEED={SEED}")  # noqa: T201
    profile = settings(
        **(FULL if IS_FULL else QUICK),
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with asyncio.Runner() as runner:
        database = Database(DatabaseSettings(url=servers["NVAE_DATABASE_URL"], pool_size=1))

        @seed(SEED * NUM_PARTS + part)
        def machine():
            return ServiceMachine(runner, database)

        try:
            run_state_machine_as_test(machine, settings=profile)
        finally:
            runner.run(database.close())


class ServiceMachine(UserRules, SchedulerRules):
    """The service on three nodes, one of them larger."""

    def __init__(self, runner, database):
        super().__init__()
        self.runner = runner
        self.database = database
        self.model = ServiceModel()
        self.may_stop = self.may_end = frozenset()
        self.is_sound = False  # before the first check

    @initialize(first=st.lists(specs, min_size=1, max_size=4))
    def begin(self, first):
        self.do(self._install())
        for spec in first:
            self.submit(spec)
        self.start()

    async def _install(self):
        await empty(self.database)
        await add_dataset(self.database)
        for node_id, num_slots in zip(self.node_ids, (2, 2, 4), strict=True):
            await operations.register(self.database, node_id, num_slots=num_slots)

    @invariant()
    def check(self):
        """Verify every invariant, and that the database is as the model says."""
        self.do(self._check())
        self.is_sound = True

    async def _check(self):
        async with self.database.transaction() as session:
            await verify_in(session)
            seen = await take_snapshot(session)
        self.model.compare(seen, may_stop=self.may_stop, may_end=self.may_end)
        self.may_stop = self.may_end = frozenset()

    def teardown(self):
        """Bring every job to its end, unless a check has failed already."""
        if self.is_sound:
            self.do(self._end_all_jobs())

    async def _end_all_jobs(self):
        await end_all_jobs(self.database, self.model, self.node_ids)
        await self._check()
        await check_ends(self.database, self.model)


async def end_all_jobs(database, model, node_ids):
    """Let nodes that work and runners that succeed bring every job to its end."""
    for node_id in node_ids:
        async with database.transaction() as session:
            await nodes.cordon(session, node_id, cordoned=False)
    num_rounds = 5 + 3 * len(model.jobs)
    for _ in range(num_rounds):
        if not await _jobs_to_end(database):
            return
        await _work_without_faults(database, model, node_ids)
    raise AssertionError(f"after {num_rounds} rounds: {await _jobs_to_end(database)}")


async def _jobs_to_end(database):
    return await rows(
        database,
        "SELECT id, status, reason, message FROM jobs"
        " WHERE status NOT IN ('succeeded', 'failed', 'cancelled', 'paused')",
    )


async def _work_without_faults(database, model, node_ids):
    model.lose_expired()
    await operations.new_scheduler(database, operations.FakeBroker()).tick()
    async with database.transaction() as session:
        seen = await take_snapshot(session)
    model.compare(seen, may_stop={Reason.DEADLINE_EXCEEDED}, may_end=ABSENT)
    await advance_and_renew(database, model, PAUSE_SECONDS)
    for claim in list(model.held):
        await operations.make_ready(database, claim)
        model.attempt_of(claim).make_ready(claim.node_rank)
    for claim in sorted(model.held, key=lambda claim: -claim.node_rank):
        orders = model.attempt_of(claim).orders()
        if orders.stop in STOP_REASONS and claim.node_rank == 0:
            await _finish(database, model, claim, orders.stop)
        elif orders.stop is not None or (orders.go and claim.node_rank > 0):
            await _finish(database, model, claim, None)
        elif orders.go:
            await _finish(database, model, claim, Reason.SUCCEEDED)


async def _finish(database, model, claim, reason):
    await operations.finish(database, claim, reason)
    model.report(claim, reason)


async def check_ends(database, model):
    """Check that each job ended as its users and runners decided."""
    jobs = await rows(
        database,
        "SELECT id, status, reason, message, step, max_run_seconds, (SELECT count(*) FROM attempts"
        " WHERE job_id = jobs.id AND attempts.reason = jobs.reason) AS num_attempts FROM jobs",
    )
    for job in jobs:
        wanted = model.wanted.get(job.id)
        if job.status == "failed":
            assert _is_failure_allowed(job, model.reported.get(job.id, set())), job
        elif wanted == StopRequest.CANCEL:
            assert job.status in {"cancelled", "succeeded"}, job
        elif wanted == StopRequest.PAUSE:
            assert job.status in {"paused", "succeeded"}, job
        else:
            assert job.status == "succeeded", job


def _is_failure_allowed(job, reported):
    """Whether a job got as many attempts as the reason of its end allows."""
    rule = RETRY_RULES.get(Reason(job.reason))
    if job.reason == Reason.DEADLINE_EXCEEDED:
        return job.max_run_seconds is not None
    if rule is None:
        return job.reason in reported
    if rule.only_after_training and job.step is None:
        return True
    if job.reason == Reason.CHECKPOINT_CORRUPT:  # not without one of its own to set aside
        return job.reason in reported
    return rule.budget is not None and job.num_attempts > rule.budget
