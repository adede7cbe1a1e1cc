"""Answers as values: metrics as columns, pages as one list, pictures as bytes."""

import math

from scripted_server import Reply, answer


def test_metrics_are_columns_also_where_a_value_is_no_number(client, server, job_answer):
    server.script("/v1/jobs/job_1", answer(job_answer()))
    series = {"steps": [1, 2, 3], "values": [1.5, "NaN", "-Infinity"]}
    server.script("/v1/jobs/job_1/metrics", answer({"loss": series}))
    found = client.jobs.get("job_1").metrics(names=["loss", "kl"], from_step=1)
    assert list(found) == ["loss"]
    assert found["loss"]["step"] == [1, 2, 3]
    assert found["loss"]["value"][0] == 1.5
    assert math.isnan(found["loss"]["value"][1])
    assert found["loss"]["value"][2] == -math.inf
    assert server.requests[-1].query == "names=loss&names=kl&from_step=1"


def test_jobs_come_from_as_many_pages_as_are_needed(client, server, job_answer):
    pages = [
        {"jobs": [job_answer(id="job_3"), job_answer(id="job_2")], "next_cursor": "a b"},
        {"jobs": [job_answer()], "next_cursor": None},
    ]
    server.script("/v1/jobs", *[answer(page) for page in pages])
    jobs = client.jobs.list(kind="train", page_size=2)
    assert next(jobs).id == "job_3"
    assert len(server.requests) == 1
    assert [job.id for job in jobs] == ["job_2", "job_1"]
    assert server.requests[1].query == "kind=train&limit=2&cursor=a+b"


def test_picture_comes_at_once_or_the_job_that_draws_it(client, server, job_answer):
    headers = {"Content-Type": "image/png", "Location": "/v1/jobs/job_1"}
    server.script("/v1/jobs", Reply(b"PNG", 201, headers), answer(job_answer(), 202))
    drawn = client.jobs.draw({"checkpoint": "ckpt_1"})
    assert (drawn.job_id, drawn.picture) == ("job_1", b"PNG")
    late = client.jobs.draw({"checkpoint": "ckpt_1"}, wait_seconds=5)
    assert (late.job_id, late.picture) == ("job_1", None)
    asked = server.requests[0]
    assert asked.body == {"kind": "sample", "checkpoint": "ckpt_1"}
    assert (asked.headers["Prefer"], asked.headers["Accept"]) == ("wait=60", "image/png")


def test_job_is_asked_to_pause_resume_cancel_and_fork(client, server, job_answer):
    server.script("/v1/jobs/job_1", answer(job_answer()))
    for verb in ("pause", "resume", "cancel"):
        server.script(f"/v1/jobs/job_1/{verb}", answer(job_answer(status=f"{verb}d")))
    server.script("/v1/jobs/job_1/fork", answer(job_answer(id="job_2", parent_id="job_1"), 201))
    job = client.jobs.get("job_1")
    assert [job.pause().status, job.resume().status] == ["paused", "resumed"]
    job.cancel(force=True)
    assert server.requests[-1].body == {"force": True}
    assert job.fork(overrides={"optimization.epochs": 9}).parent_id == "job_1"
    assert server.requests[-1].body == {"overrides": {"optimization.epochs": 9}}
    assert all(r.headers["Idempotency-Key"] for r in server.requests if r.method == "POST")


def test_checkpoint_from_elsewhere_is_imported_by_a_job(client, server, job_answer):
    server.script("/v1/checkpoints", answer(job_answer(kind="import_checkpoint"), 201))
    job = client.checkpoints.import_from("published", "cifar10/checkpoint.pt", name="cifar10")
    assert job.kind == "import_checkpoint"
    source = {"kind": "published", "path": "cifar10/checkpoint.pt"}
    assert server.requests[0].body == {"name": "cifar10", "source": source}
