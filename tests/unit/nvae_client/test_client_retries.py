"""Requests are repeated where that helps, as one request, and for a limited time."""

import pytest
from scripted_server import Reply, answer, problem

from nvae_client import NvaeClient, ServiceError, ServiceUnreachable

SPEC = {"kind": "train", "preset": "mnist-cpu", "dataset": "mnist"}


def test_submission_over_dropped_connections_carries_one_key(client, server, job_answer):
    server.script("/v1/jobs", Reply(drop=True), Reply(drop=True), answer(job_answer(), 201))
    assert client.jobs.submit(SPEC).id == "job_1"
    assert [request.body for request in server.requests] == [SPEC] * 3
    assert len({request.headers["Idempotency-Key"] for request in server.requests}) == 1
    assert {request.headers["Authorization"] for request in server.requests} == {"Bearer nvae_key"}


def test_two_submissions_have_two_keys_and_a_given_key_is_used(client, server, job_answer):
    server.script("/v1/jobs", answer(job_answer(), 201))
    for key in (None, None, "mine"):
        client.jobs.submit(SPEC, idempotency_key=key)
    keys = [request.headers["Idempotency-Key"] for request in server.requests]
    assert len({*keys}) == 3
    assert keys[2] == "mine"


def test_retry_after_is_heeded(client, server, passing, job_answer):
    server.script(
        "/v1/jobs/job_1",
        problem(429, "rate_limited", Retry_After="7"),
        problem(503, "unavailable", Retry_After="2"),
        answer(job_answer()),
    )
    client.jobs.get("job_1")
    assert len(passing.slept) == 2
    assert 7 <= passing.slept[0] <= 8
    assert 2 <= passing.slept[1] <= 3


def test_pauses_double_up_to_a_limit_and_end_in_time(client, server, passing):
    server.script("/v1/jobs/job_1", problem(503, "unavailable"))
    with pytest.raises(ServiceError) as refusal:
        client.jobs.get("job_1")
    assert refusal.value.code == "unavailable"
    assert passing.slept == [0.25, 0.5, 1, 2, 4, 8]
    assert passing.now <= 20


def test_wait_longer_than_the_time_left_is_not_begun(client, server, passing):
    server.script("/v1/jobs/job_1", problem(429, "rate_limited", Retry_After="3600"))
    with pytest.raises(ServiceError):
        client.jobs.get("job_1")
    assert passing.slept == []


def test_refusal_is_final_and_says_where_and_why(client, server, passing):
    errors = [
        {"pointer": "/overrides/optimization.epochs", "message": "too small"},
        {"pointer": "/overrides/optimization.epochs", "message": "odd"},
    ]
    server.script("/v1/jobs", problem(422, "invalid_spec", "bad epochs", errors))
    with pytest.raises(ServiceError) as refusal:
        client.jobs.submit(SPEC)
    error = refusal.value
    assert (error.status, error.code, error.detail) == (422, "invalid_spec", "bad epochs")
    assert error.pointers == {"/overrides/optimization.epochs": "too small; odd"}
    assert error.request_id == "req_1"
    assert (len(server.requests), passing.slept) == (1, [])


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"<html>hello</html>", 200, {"Content-Type": "text/html"}),
        Reply(b"<html>hello</html>", 404, {"Content-Type": "text/html"}),
        answer(["no", "job"]),
        answer({"detail": "Not Found"}, 404),
    ],
)
def test_another_server_than_ours_is_recognized(client, server, reply):
    server.script("/v1/jobs/job_1", reply)
    with pytest.raises(ServiceError) as refusal:
        client.jobs.get("job_1")
    assert refusal.value.code == "unexpected_answer"


def test_nobody_at_the_address_is_an_error_of_its_own(server, passing):
    with (
        NvaeClient("http://127.0.0.1:1", timing=passing.timing()) as client,
        pytest.raises(ServiceUnreachable),
    ):
        client.nodes.list()
    assert 30 < passing.now <= 60


def test_odd_names_stay_one_part_of_the_path(client, server):
    with pytest.raises(ServiceError, match=r"nothing at /v1/datasets/a%2F..%2Fb%3Fc"):
        client.datasets.get("a/../b?c")
