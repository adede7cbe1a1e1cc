"""Invariants of the service's rows: sentences, each with the query of the rows that break it.

Every committed state keeps them all, so `verify` may be called while services are at work.
"""

from sqlalchemy import text

from services.domain.states import JOB_TRANSITIONS, TERMINAL, JobStatus

MAX_SHOWN = 5


def _sql_list(values):
    return ", ".join(f"'{value}'" for value in sorted(values))


_TERMINAL = _sql_list(TERMINAL)
_MOVES = ", ".join(
    f"('{before}', '{after}')" for before, targets in JOB_TRANSITIONS.items() for after in targets
)
_STATUS_EVENTS = f"""
    SELECT job_id, number,
        CASE type WHEN 'submitted' THEN 'queued' ELSE type END AS status,
        lag(CASE type WHEN 'submitted' THEN 'queued' ELSE type END)
            OVER (PARTITION BY job_id ORDER BY number) AS before,
        row_number() OVER (PARTITION BY job_id ORDER BY number DESC) AS from_the_end
    FROM events WHERE type IN ('submitted', {_sql_list(JobStatus)})
"""

OF_JOBS = {
    "the events of a job are numbered from 1 without gaps": """
        SELECT format('job %s counts %s events, and has %s from %s to %s',
            jobs.id, num_events, count(number), min(number), max(number))
        FROM jobs LEFT JOIN events ON job_id = jobs.id
        GROUP BY jobs.id
        HAVING count(number) <> num_events OR min(number) <> 1 OR max(number) <> num_events
            OR num_events = 0
    """,
    "a job begins with its submission": """
        SELECT format('job %s: event %s is %s', job_id, number, type)
        FROM events WHERE (number = 1) <> (type = 'submitted')
    """,
    "a job changes its status along the transition table": f"""
        SELECT format('job %s went from %s to %s at event %s', job_id, before, status, number)
        FROM ({_STATUS_EVENTS}) AS moves
        WHERE before IS NOT NULL AND (before, status) NOT IN ({_MOVES})
    """,
    "the last event about its status is where a job is": f"""
        SELECT format('job %s is %s, its events end in %s', id, jobs.status, last.status)
        FROM jobs LEFT JOIN ({_STATUS_EVENTS}) AS last ON job_id = id AND from_the_end = 1
        WHERE jobs.status IS DISTINCT FROM last.status
    """,
    "a job ends at most once, and has a time of its end once it has": f"""
        SELECT format('job %s is %s, finished at %s, with %s events of an end',
            jobs.id, status, coalesce(finished_at::text, 'no time'), count(number))
        FROM jobs LEFT JOIN events ON job_id = jobs.id AND type IN ({_TERMINAL})
        GROUP BY jobs.id
        HAVING count(number) <> (status IN ({_TERMINAL}))::int
            OR (finished_at IS NOT NULL) <> (status IN ({_TERMINAL}))
    """,
    "a job has one live attempt while it is on nodes, and else none": """
        SELECT format('job %s is %s and has %s live attempts',
            jobs.id, jobs.status, count(attempts.id))
        FROM jobs LEFT JOIN attempts ON job_id = jobs.id AND attempts.status <> 'finished'
        GROUP BY jobs.id
        HAVING count(attempts.id) <> (jobs.status IN ('starting', 'running', 'stopping'))::int
    """,
    "a job is stopped, paused or cancelled because somebody asked for it": """
        SELECT format('job %s is %s, and the request is %s',
            id, status, coalesce(stop_requested, 'none'))
        FROM jobs WHERE CASE
            WHEN status IN ('queued', 'starting', 'running') THEN stop_requested IS NOT NULL
            WHEN status = 'stopping' THEN stop_requested IS NULL
            WHEN status = 'paused' THEN stop_requested IS DISTINCT FROM 'pause'
            WHEN status = 'cancelled' THEN stop_requested IS DISTINCT FROM 'cancel'
            ELSE false
        END
    """,
    "a job has run for no negative time": """
        SELECT format('job %s has run for %s s', id, run_seconds) FROM jobs WHERE run_seconds < 0
    """,
}

OF_ATTEMPTS = {
    "the attempts of a job are numbered from 1 without gaps": """
        SELECT format('job %s counts %s attempts, and has %s from %s to %s',
            jobs.id, num_attempts, count(number), min(number), max(number))
        FROM jobs LEFT JOIN attempts ON job_id = jobs.id
        GROUP BY jobs.id
        HAVING count(number) <> num_attempts OR min(number) <> 1 OR max(number) <> num_attempts
    """,
    "every attempt has one event that says where it was placed": """
        SELECT format('attempt %s of job %s was placed by %s events', number, job_id, num_events)
        FROM (
            SELECT attempts.job_id, attempts.number, count(events.number) AS num_events
            FROM attempts LEFT JOIN events ON events.job_id = attempts.job_id
                AND type = 'starting' AND data -> 'attempt' = to_jsonb(attempts.number)
            GROUP BY attempts.id
        ) AS placed
        WHERE num_events <> 1
    """,
    "fences are unique": """
        SELECT format('fence %s belongs to %s attempts', fence, count(*))
        FROM attempts GROUP BY fence HAVING count(*) > 1
    """,
    "a later attempt has a larger fence": """
        SELECT format('attempt %s of job %s has fence %s after %s', number, job_id, fence, before)
        FROM (
            SELECT number, job_id, fence,
                lag(fence) OVER (PARTITION BY job_id ORDER BY number) AS before
            FROM attempts
        ) AS fences
        WHERE fence <= before
    """,
    "an attempt that has ended has a time and a reason, and one that lives has no time": """
        SELECT format('attempt %s is %s, finished at %s for %s',
            id, status, coalesce(finished_at::text, 'no time'), coalesce(reason, 'no reason'))
        FROM attempts
        WHERE (status = 'finished') <> (finished_at IS NOT NULL)
            OR (status = 'finished' AND reason IS NULL)
    """,
    "an attempt lives as long as one of its members": """
        SELECT format('attempt %s is %s with %s members that have not finished',
            attempts.id, attempts.status, count(node_rank))
        FROM attempts LEFT JOIN members ON attempt_id = attempts.id AND members.status <> 'finished'
        GROUP BY attempts.id
        HAVING (count(node_rank) > 0) <> (attempts.status <> 'finished')
    """,
    "an attempt has a member on each of as many nodes as its job asks for": """
        SELECT format('attempt %s has ranks %s to %s on %s nodes, and its job asks for %s',
            attempts.id, min(node_rank), max(node_rank), count(DISTINCT members.node_id), num_nodes)
        FROM attempts JOIN jobs ON jobs.id = job_id LEFT JOIN members ON attempt_id = attempts.id
        GROUP BY attempts.id, num_nodes
        HAVING count(node_rank) <> num_nodes OR count(DISTINCT members.node_id) <> num_nodes
            OR min(node_rank) <> 0 OR max(node_rank) <> num_nodes - 1
    """,
    "a trainer runs once all its nodes were ready": """
        SELECT format('attempt %s has started, and rank %s was never ready', id, node_rank)
        FROM attempts JOIN members ON attempt_id = id
        WHERE started_at IS NOT NULL AND ready_at IS NULL
        UNION ALL
        SELECT format('attempt %s is %s, started at %s', id, status, started_at)
        FROM attempts
        WHERE status <> 'finished' AND (status = 'running') <> (started_at IS NOT NULL)
    """,
    "a job that starts or runs says so as its attempt does": """
        SELECT format('job %s is %s, and its attempt is %s', jobs.id, jobs.status, attempts.status)
        FROM jobs JOIN attempts ON job_id = jobs.id AND attempts.status <> 'finished'
        WHERE (jobs.status = 'starting' AND attempts.status <> 'placed')
            OR (jobs.status = 'running' AND attempts.status <> 'running')
    """,
    "a slot is held by a live member on its node": """
        SELECT format('slot %s of node %s is held by attempt %s, which is %s there',
            index, slots.node_id, slots.attempt_id, coalesce(members.status, 'not'))
        FROM slots
        LEFT JOIN members USING (attempt_id, node_id)
        LEFT JOIN attempts ON attempts.id = attempt_id
        WHERE attempt_id IS NOT NULL AND (
            members.status IS NULL OR members.status = 'finished' OR attempts.status = 'finished'
        )
    """,
    "a live member holds exactly the slots that its job asks for": """
        SELECT format('attempt %s holds %s slots on node %s, and its job asks for %s',
            members.attempt_id, count(index), members.node_id, num_slots)
        FROM members
        JOIN attempts ON attempts.id = members.attempt_id
        JOIN jobs ON jobs.id = job_id
        LEFT JOIN slots ON slots.attempt_id = members.attempt_id
            AND slots.node_id = members.node_id
        WHERE members.status <> 'finished'
        GROUP BY members.attempt_id, members.node_rank, num_slots
        HAVING count(index) <> num_slots
    """,
    "no two live attempts meet at the same port of a node": """
        SELECT format('port %s of node %s is that of %s live attempts', port, node_id, count(*))
        FROM attempts WHERE status <> 'finished' AND port IS NOT NULL
        GROUP BY node_id, port HAVING count(*) > 1
    """,
    "the nodes of a gang meet at a port of its first one": """
        SELECT format('attempt %s of %s nodes meets at port %s of node %s, and rank 0 is on %s',
            attempts.id, num_nodes, coalesce(port::text, '(none)'), attempts.node_id,
            members.node_id)
        FROM attempts
        JOIN jobs ON jobs.id = job_id
        JOIN members ON attempt_id = attempts.id AND node_rank = 0
        WHERE attempts.node_id <> members.node_id OR (num_nodes > 1) <> (port IS NOT NULL)
    """,
    "a job that succeeded did so in its last attempt, and in no other": """
        SELECT format('job %s is %s, and attempt %s of %s ended with %s',
            jobs.id, jobs.status, number, num_attempts, attempts.reason)
        FROM jobs JOIN attempts ON job_id = jobs.id AND attempts.status = 'finished'
        WHERE (attempts.reason = 'succeeded')
            <> (jobs.status = 'succeeded' AND number = num_attempts)
    """,
}

OF_RESULTS = {
    "a metric has one value at a step": """
        SELECT format('job %s has %s values of %s at step %s', job_id, count(*), name, step)
        FROM metrics JOIN metric_series ON metric_series.id = series_id
        GROUP BY job_id, name, step HAVING count(*) > 1
    """,
    "an artifact of a job has one row": """
        SELECT format('job %s has %s artifacts %s', job_id, count(*), name)
        FROM artifacts GROUP BY job_id, name HAVING count(*) > 1
    """,
    "a job has one committed checkpoint of a step": """
        SELECT format('job %s has %s committed checkpoints of step %s', job_id, count(*), step)
        FROM checkpoints WHERE status = 'committed' GROUP BY job_id, step HAVING count(*) > 1
    """,
    "a checkpoint lies where no other one does": """
        SELECT format('%s checkpoints lie under %s', count(*), prefix)
        FROM checkpoints GROUP BY prefix HAVING count(*) > 1
    """,
    "a checkpoint is by an attempt of its own job": """
        SELECT format('checkpoint %s of job %s is by an attempt of %s',
            checkpoints.id, checkpoints.job_id, attempts.job_id)
        FROM checkpoints JOIN attempts ON attempts.id = attempt_id
        WHERE checkpoints.job_id <> attempts.job_id
    """,
    "every checkpoint has one event that says so": """
        SELECT format('checkpoint %s was told by %s events', checkpoints.id, count(number))
        FROM checkpoints LEFT JOIN events ON events.job_id = checkpoints.job_id
            AND type = 'checkpoint' AND data ->> 'checkpoint' = checkpoints.id
        GROUP BY checkpoints.id HAVING count(number) <> 1
    """,
    "no job that has not ended reads a checkpoint that goes": """
        SELECT format('job %s is %s and reads checkpoint %s, which is %s',
            jobs.id, jobs.status, checkpoints.id, checkpoints.status)
        FROM jobs JOIN checkpoints ON checkpoints.id = checkpoint_id
        WHERE jobs.status NOT IN ('succeeded', 'failed', 'cancelled')
            AND checkpoints.status IN ('deleting', 'deleted')
    """,
    "no checkpoint that is pinned goes": """
        SELECT format('checkpoint %s is pinned and %s', id, status)
        FROM checkpoints WHERE pinned AND status IN ('deleting', 'deleted')
    """,
}

INVARIANTS = OF_JOBS | OF_ATTEMPTS | OF_RESULTS


async def verify(database):
    """Raise AssertionError with the first broken invariant and the rows that break it."""
    async with database.transaction() as session:
        await verify_in(session)


async def verify_in(session, invariants=INVARIANTS):
    """Verify these invariants as seen from a transaction."""
    violations = (await session.execute(_one_query(invariants))).all()
    if not violations:
        return
    first = violations[0].invariant
    rows = [row.violation for row in violations if row.invariant == first]
    more = f"\n  and {len(rows) - MAX_SHOWN} more" if len(rows) > MAX_SHOWN else ""
    raise AssertionError(f"{first}:\n  " + "\n  ".join(rows[:MAX_SHOWN]) + more)


def _one_query(invariants):
    """Return one query, because one statement sees one state of the database."""
    parts = [
        f"SELECT {number} AS number, '{invariant}' AS invariant, violation\n"
        f"FROM ({query}) AS invariant_{number}(violation)"
        for number, (invariant, query) in enumerate(invariants.items())
    ]
    return text("\nUNION ALL\n".join(parts) + "\nORDER BY number, violation")
