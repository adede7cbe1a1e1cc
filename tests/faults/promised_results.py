"""What is promised of metrics and checkpoints: promise, and the query of what breaks it."""

PROMISED_RESULTS = {
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
