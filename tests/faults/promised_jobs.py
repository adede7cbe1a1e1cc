"""What is promised of jobs and their events: promise, and the query of what breaks it."""

from services.domain.states import JOB_TRANSITIONS, TERMINAL, JobStatus


def _quoted(values):
    return ", ".join(f"'{value}'" for value in sorted(values))


_TERMINAL = _quoted(TERMINAL)
_MOVES = ", ".join(
    f"('{before}', '{after}')" for before, targets in JOB_TRANSITIONS.items() for after in targets
)
_STATUS_EVENTS = f"""
    SELECT job_id, number,
        CASE type WHEN 'submitted' THEN 'queued' ELSE type END AS status,
        lag(CASE type WHEN 'submitted' THEN 'queued' ELSE type END)
            OVER (PARTITION BY job_id ORDER BY number) AS before,
        row_number() OVER (PARTITION BY job_id ORDER BY number DESC) AS from_the_end
    FROM events WHERE type IN ('submitted', {_quoted(JobStatus)})
"""

PROMISED_JOBS = {
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
