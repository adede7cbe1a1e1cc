"""Nothing hangs: with nodes that work and runners that succeed, every job comes to its end."""

import parties
from observed_rows import observe, rows
from scheduler_rules import let_pass_and_renew
from service_model import ABSENT

from services.database import nodes
from services.domain.retry import RETRY_RULES, STOP_REASONS
from services.domain.states import Reason, StopRequest

PAUSE_SECONDS = 400.0
"""Longer than any delay before a retry, and far shorter than a lease."""


async def settle(database, model, node_ids):
    """Let the parties work, without faults, until nothing changes any more."""
    for node_id in node_ids:
        async with database.transaction() as session:
            await nodes.cordon(session, node_id, cordoned=False)
    num_rounds = 5 + 3 * len(model.jobs)
    for _ in range(num_rounds):
        if not await _unsettled(database):
            return
        await _work(database, model, node_ids)
    raise AssertionError(f"after {num_rounds} rounds: {await _unsettled(database)}")


async def _unsettled(database):
    return await rows(
        database,
        "SELECT id, status, reason, message FROM jobs"
        " WHERE status NOT IN ('succeeded', 'failed', 'cancelled', 'paused')",
    )


async def _work(database, model, node_ids):
    model.lose_expired()
    await parties.new_scheduler(database, parties.Bell()).tick()
    async with database.transaction() as session:
        seen = await observe(session)
    model.compare(seen, may_stop={Reason.DEADLINE_EXCEEDED}, may_end=ABSENT)
    await let_pass_and_renew(database, model, PAUSE_SECONDS)
    for claim in list(model.held):
        await parties.make_ready(database, claim)
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
    await parties.finish(database, claim, reason)
    model.report(claim, reason)


async def check_ends(database, model):
    """Raise AssertionError unless each job has the end that its users and runners gave it."""
    jobs = await rows(
        database,
        "SELECT id, status, reason, message, step, max_run_seconds, (SELECT count(*) FROM attempts"
        " WHERE job_id = jobs.id AND attempts.reason = jobs.reason) AS num_attempts FROM jobs",
    )
    for job in jobs:
        wanted = model.wanted.get(job.id)
        if job.status == "failed":
            assert _has_failed_rightly(job, model.reported.get(job.id, set())), job
        elif wanted == StopRequest.CANCEL:
            assert job.status in {"cancelled", "succeeded"}, job
        elif wanted == StopRequest.PAUSE:
            assert job.status in {"paused", "succeeded"}, job
        else:
            assert job.status == "succeeded", job


def _has_failed_rightly(job, reported):
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
