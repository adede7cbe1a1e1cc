"""The services keep every invariant, and `verify` detects each violation."""

import pytest
from building import add_checkpoint, add_dataset, add_gang, add_job, add_node, empty, finish, place
from invariants import INVARIANTS, verify, verify_in
from sqlalchemy import text

from services.database import attempts, control
from services.database.session import Database
from services.domain.states import Reason
from services.settings import DatabaseSettings

VIOLATIONS = {
    "the events of a job are numbered from 1 without gaps": [
        "DELETE FROM events WHERE number = 2",
        "UPDATE jobs SET num_events = num_events + 1",
        "UPDATE events SET number = 0 WHERE number = 1",
    ],
    "a job begins with its submission": [
        "UPDATE events SET type = 'notice' WHERE number = 1",
        "UPDATE events SET type = 'submitted' WHERE number = 2",
    ],
    "a job changes its status along the transition table": [
        "UPDATE events SET type = 'succeeded' WHERE number = 2 AND type = 'starting'"
    ],
    "the last event about its status is where a job is": [
        "UPDATE jobs SET status = 'failed', finished_at = now() WHERE status = 'succeeded'"
    ],
    "a job ends at most once, and has a time of its end once it has": [
        "UPDATE jobs SET finished_at = NULL WHERE status = 'succeeded'",
        "UPDATE jobs SET finished_at = now() WHERE status = 'running'",
    ],
    "a job has one live attempt while it is on nodes, and else none": [
        "DROP INDEX uq_attempts_one_live; UPDATE attempts SET status = 'placed', reason = NULL,"
        " finished_at = NULL, started_at = NULL WHERE number = 1",
        "UPDATE attempts SET status = 'finished', finished_at = now(), reason = 'drained'"
        " WHERE status = 'placed'",
    ],
    "a job is stopped, paused or cancelled because somebody asked for it": [
        "UPDATE jobs SET stop_requested = 'pause' WHERE status = 'running'",
        "UPDATE jobs SET stop_requested = 'pause' WHERE status = 'cancelled'",
    ],
    "a job has run for no negative time": ["UPDATE jobs SET run_seconds = -1"],
    "the attempts of a job are numbered from 1 without gaps": [
        "UPDATE attempts SET number = 7 WHERE number = 2",
        "UPDATE jobs SET num_attempts = 9",
    ],
    "every attempt has one event that says where it was placed": [
        "UPDATE events SET data = '{}' WHERE type = 'starting'"
    ],
    "fences are unique": [
        "ALTER TABLE attempts DROP CONSTRAINT uq_attempts_fence; UPDATE attempts SET fence = 1"
    ],
    "a later attempt has a larger fence": [
        "UPDATE attempts SET fence = -fence",
    ],
    "an attempt that has ended has a time and a reason, and one that lives has no time": [
        "UPDATE attempts SET reason = NULL WHERE status = 'finished'",
        "UPDATE attempts SET finished_at = now()",
    ],
    "an attempt lives as long as one of its members": [
        "UPDATE members SET status = 'finished' WHERE status = 'placed'",
        "UPDATE members SET status = 'claimed' WHERE status = 'finished'",
    ],
    "an attempt has a member on each of as many nodes as its job asks for": [
        "DELETE FROM members WHERE status = 'finished' AND node_rank = 1",
    ],
    "a trainer runs once all its nodes were ready": [
        "UPDATE members SET ready_at = NULL",
        "UPDATE attempts SET started_at = NULL WHERE status = 'running'",
    ],
    "a job that starts or runs says so as its attempt does": [
        "UPDATE attempts SET status = 'placed', started_at = NULL WHERE status = 'running'",
        "UPDATE attempts SET status = 'running' WHERE status = 'placed'",
    ],
    "a slot is held by a live member on its node": [
        "UPDATE slots SET attempt_id = (SELECT min(id) FROM attempts WHERE status = 'finished')"
        " WHERE attempt_id IS NULL"
    ],
    "a live member holds exactly the slots that its job asks for": [
        "UPDATE slots SET attempt_id = NULL WHERE index = 0",
    ],
    "no two live attempts meet at the same port of a node": [
        "DROP INDEX uq_attempts_port; UPDATE attempts SET port = 1, node_id ="
        " (SELECT min(id) FROM nodes) WHERE status <> 'finished'"
    ],
    "the nodes of a gang meet at a port of its first one": [
        "UPDATE attempts SET node_id = (SELECT max(id) FROM nodes)",
        "UPDATE attempts SET port = NULL",
    ],
    "a job that succeeded did so in its last attempt, and in no other": [
        "UPDATE attempts SET reason = 'drained'",
        "UPDATE attempts SET reason = 'succeeded'",
    ],
    "a metric has one value at a step": [
        "ALTER TABLE metrics DROP CONSTRAINT pk_metrics;"
        " INSERT INTO metric_series (job_id, name) SELECT min(id), 'loss' FROM jobs;"
        " INSERT INTO metrics (series_id, step, value, at)"
        " SELECT id, 1, 0, now() FROM metric_series, generate_series(1, 2)"
    ],
    "an artifact of a job has one row": [
        "ALTER TABLE artifacts DROP CONSTRAINT uq_artifacts_job_id_name;"
        " INSERT INTO artifacts (id, job_id, attempt_id, name, key, content_type, size_bytes,"
        " sha256) SELECT number, (SELECT min(job_id) FROM attempts), (SELECT min(id) FROM attempts"
        "), 'a', 'k', 't', 1, '0' FROM generate_series(1, 2) AS number"
    ],
    "a job has one committed checkpoint of a step": [
        "DROP INDEX uq_checkpoints_committed; UPDATE checkpoints SET step = 1, status = 'committed'"
    ],
    "a checkpoint lies where no other one does": ["UPDATE checkpoints SET prefix = 'here'"],
    "a checkpoint is by an attempt of its own job": [
        "UPDATE checkpoints SET attempt_id = (SELECT max(attempts.id) FROM attempts"
        " WHERE attempts.job_id <> checkpoints.job_id)"
    ],
    "every checkpoint has one event that says so": [
        "UPDATE events SET type = 'notice' WHERE type = 'checkpoint'",
        "UPDATE events SET type = 'checkpoint', data = '{\"checkpoint\": \"\"}' ||"
        " jsonb_build_object('checkpoint', (SELECT min(id) FROM checkpoints))"
        " WHERE type = 'checkpoint'",
    ],
    "no job that has not ended reads a checkpoint that goes": [
        "UPDATE jobs SET checkpoint_id = (SELECT min(id) FROM checkpoints);"
        " UPDATE checkpoints SET status = 'deleting'"
    ],
    "no checkpoint that is pinned goes": [
        "UPDATE checkpoints SET pinned = true, status = 'deleting'"
    ],
}


@pytest.fixture(scope="module")
async def busy(servers):
    """A database with jobs that wait, start, run, were retried, cancelled, and have succeeded."""
    database = Database(DatabaseSettings(url=servers["NVAE_DATABASE_URL"]))
    await empty(database)
    await add_dataset(database)
    node_ids = [await add_node(database, name, num_slots=6) for name in ("a", "b")]
    succeeded = await add_job(database, name="succeeded")
    await run(database, await add_gang(database, succeeded, node_ids[:1]), Reason.DRAINED)
    await run(database, await add_gang(database, succeeded, node_ids[:1]), Reason.SUCCEEDED)
    running = await add_job(database, name="running", resources={"nodes": 2, "slots": 1})
    await run(database, await add_gang(database, running, node_ids), Reason.DRAINED)
    claims = await add_gang(database, running, node_ids)
    await run(database, claims, None)
    for step in (1, 2):
        await add_checkpoint(database, claims[0], step=step)
    starting = await add_job(database, name="starting", resources={"nodes": 1, "slots": 2})
    await place(database, starting, node_ids[1:], slots=(4, 5))
    cancelled = await add_job(database)
    async with database.transaction() as session:
        await control.cancel(session, cancelled.id)
    await add_job(database, name="waits")
    yield database
    await database.close()


async def run(database, claims, reason):
    """Start the trainers of an attempt, and end them with this reason, unless it is None."""
    for claim in claims:
        async with database.transaction() as session:
            await attempts.make_ready(session, claim)
    if reason is not None:
        for claim in claims:
            await finish(database, claim, reason)


async def test_jobs_in_every_state_keep_all_invariants(busy):
    await verify(busy)


def test_every_invariant_has_a_violation():
    assert set(VIOLATIONS) == set(INVARIANTS)


@pytest.mark.parametrize(
    ("invariant", "statement"),
    [
        (invariant, statement)
        for invariant, statements in VIOLATIONS.items()
        for statement in statements
    ],
)
async def test_verify_names_the_invariant_that_is_violated(busy, invariant, statement):
    with pytest.raises(AssertionError) as caught:
        async with busy.transaction() as session:
            await session.execute(text("ALTER TABLE events DISABLE TRIGGER append_only"))
            for part in statement.split(";"):
                await session.execute(text(part))
            await verify_in(session, {invariant: INVARIANTS[invariant]})
    assert str(caught.value).startswith(f"{invariant}:\n  ")
