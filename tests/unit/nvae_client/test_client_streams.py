"""Streams of events and logs go on where they were cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import Reply, answer, events, problem

from nvae_client import ServiceError, ServiceUnreachable
from nvae_client._sse import ServerSentEvent, parse_events

PATH = "/v1/jobs/job_1"


def event(number, type_="checkpoint", **data):
    content = {"number": number, "type": type_, "data": data, "at": "2026-01-01T00:00:00Z"}
    return str(number), type_, content


def log(offset, text, attempt=1):
    data = {"attempt": attempt, "rank": 0, "offset": offset, "text": text}
    return f"{attempt}-{offset}", "log", data


@pytest.fixture
def job(client, server, job_answer):
    server.script("/v1/jobs", answer(job_answer(), 201))
    found = client.jobs.submit({})
    server.requests.clear()
    return found


def test_cut_stream_of_events_goes_on_after_the_last_one(job, server):
    server.script(
        f"{PATH}/events",
        events(event(1, "submitted"), event(2, "starting"), cut=True),
        Reply(drop=True),
        problem(503, "unavailable"),
        events(event(3), event(4, "succeeded", message="done"), event(5)),
    )
    found = list(job.events())
    assert [one.number for one in found] == [1, 2, 3, 4]
    assert found[-1].data == {"message": "done"}
    continued = [request.headers.get("Last-Event-ID") for request in server.requests]
    assert continued == [None, "2", "2", "2"]


def test_half_an_event_is_read_again_as_a_whole(job, server):
    whole = events(event(1), event(2, "failed"))
    cut = Reply(whole.body, 200, whole.headers, cut_after=len(whole.body) - 20)
    server.script(f"{PATH}/events", cut, events(event(2, "failed")))
    assert [one.number for one in job.events()] == [1, 2]


def test_stream_from_the_end_of_a_job_ends(job, server, job_answer):
    server.script(f"{PATH}/events", events())
    server.script(PATH, answer(job_answer(status="succeeded")))
    assert list(job.events(after=7)) == []
    assert [request.query for request in server.requests] == ["after=7", "", "after=7"]


def test_stream_that_never_gets_further_is_given_up(job, server, passing, job_answer):
    server.script(f"{PATH}/events", events())
    server.script(PATH, answer(job_answer()))
    with pytest.raises(ServiceUnreachable, match="before the job did"):
        list(job.events())
    assert passing.now <= 20


def test_events_without_following_are_a_list(job, server):
    server.script(f"{PATH}/events", answer([event(1, "submitted")[2]]))
    assert [one.type for one in job.events(follow=False)] == ["submitted"]


def test_log_is_followed_over_cuts_and_attempts(job, server):
    server.script(
        f"{PATH}/logs",
        events(log(0, "one\n"), log(4, "two\n"), cut=True),
        events(log(0, "again\n", attempt=2), ("", "end", {})),
    )
    found = list(job.logs(follow=True, rank=1, tail=5))
    assert [(one.attempt, one.text) for one in found] == [
        (1, "one\n"),
        (1, "two\n"),
        (2, "again\n"),
    ]
    assert [request.headers.get("Last-Event-ID") for request in server.requests] == [None, "1-4"]
    assert server.requests[0].query == "rank=1&tail=5"


def test_log_as_it_is_comes_in_one_piece(job, server):
    server.script(f"{PATH}/logs", Reply("größer\n".encode(), 200, {"Content-Type": "text/plain"}))
    [found] = job.logs(tail=1)
    assert found.text == "größer\n"


@pytest.mark.parametrize("reply", [answer([]), events(("1", "checkpoint", {"number": "x"}))])
def test_what_is_no_stream_of_events_is_refused(job, server, reply):
    server.script(f"{PATH}/events", reply)
    with pytest.raises(ServiceError) as refusal:
        list(job.events())
    assert refusal.value.code == "unexpected_answer"


@given(st.data())
def test_events_are_the_same_however_their_bytes_are_cut(data):
    text = (
        'id: 1\r\nevent: log\ndata: {"a":\ndata:"\u2028\x85"}\n\n: alive\r\r\ndata: é\n\ndata: half'
    )
    content = text.encode()
    chunks = []
    while content:
        size = data.draw(st.integers(1, len(content)))
        chunks.append(content[:size])
        content = content[size:]
    assert list(parse_events(chunks)) == [
        ServerSentEvent("1", "log", '{"a":\n"\u2028\x85"}'),
        ServerSentEvent("1", "message", "é"),
    ]
