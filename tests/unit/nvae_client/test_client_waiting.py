"""Jobs are waited for by requests that stay open, and not asked for all the time."""

import pytest
from scripted_server import Reply, answer, problem

from nvae_client import JobFailed

PATH = "/v1/jobs/job_1"


@pytest.fixture
def job(client, server, job_answer):
    server.script("/v1/jobs", answer(job_answer(), 201))
    found = client.jobs.submit({})
    server.requests.clear()
    return found


def test_wait_asks_with_the_tag_of_what_it_has_seen(job, server, job_answer):
    server.script(
        PATH,
        answer(job_answer(), ETag='"1"'),
        Reply(status=304),
        Reply(drop=True),
        answer(job_answer(progress={"step": 50, "num_steps": 100}), ETag='"2"'),
        answer(job_answer(status="succeeded", result={"loss": 1.0}), ETag='"3"'),
    )
    seen = []
    ended = job.wait(on_change=seen.append)
    assert ended.result == {"loss": 1.0}
    assert [one.progress.step for one in seen] == [10, 50, 10]
    asked = [(r.headers.get("If-None-Match"), r.headers.get("Prefer")) for r in server.requests]
    first, *others, last = asked
    assert first == (None, None)
    assert {*others} == {('"1"', "wait=20")}
    assert last == ('"2"', "wait=20")


def test_wait_without_tags_looks_now_and_then(job, server, passing, job_answer):
    server.script(PATH, *[answer(job_answer())] * 5, answer(job_answer(status="succeeded")))
    seen = []
    job.wait(on_change=seen.append)
    assert [one.status for one in seen] == ["running", "succeeded"]
    assert passing.slept == [0.5] * 5


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_other_ends_raise_with_the_job(job, server, job_answer, status):
    ended = job_answer(status=status, reason="out_of_memory", message="too large")
    server.script(PATH, answer(ended))
    with pytest.raises(JobFailed, match=r"out_of_memory.*too large") as failure:
        job.wait()
    assert failure.value.job.status == status


def test_wait_gives_up_when_its_time_is_over(job, server, passing, job_answer):
    server.script(PATH, answer(job_answer(), ETag='"1"'), Reply(status=304))
    with pytest.raises(TimeoutError, match="goes on"):
        job.wait(timeout_seconds=3)
    assert passing.now == pytest.approx(3, abs=0.5)
    assert server.requests[1].headers["Prefer"] == "wait=3"


def test_patience_for_a_service_that_is_away_is_the_callers(job, server, passing, job_answer):
    away = problem(503, "unavailable", Retry_After="30")
    server.script(PATH, away, away, away, answer(job_answer(status="succeeded")))
    assert job.wait(patience_seconds=300).status == "succeeded"
    assert passing.now > 90


def test_unknown_fields_are_left_out_and_known_ones_typed(job):
    assert job.progress.num_steps == 100
    assert job.created_at.year == 2026
    assert not hasattr(job, "something_new")
    assert not job.has_ended
