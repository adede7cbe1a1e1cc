"""What is promised of attempts, members and slots: promise, and the query of what breaks it."""

PROMISED_ATTEMPTS = {
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
