"""Events and logs as they come, over a real server."""

import asyncio
import json
from dataclasses import dataclass

import httpx
import pytest
import uvicorn
from building import (
    add_checkpoint,
    add_claimed_attempt,
    add_dataset,
    add_job,
    add_key,
    add_node,
    finish,
)

from services.api import streaming
from services.api.app import create_app
from services.database import attempts, control, logs
from services.domain.states import Reason
from services.local.state import HOST, free_ports

STREAM = {"Accept": "text/event-stream"}


@dataclass
class Heard:
    """One event of a stream."""

    number: str
    kind: str
    data: dict


@pytest.fixture
async def served(make_stores, database):
    """A client of an API that is served over the network."""
    [port] = free_ports(1)
    app = create_app(make_stores())
    server = uvicorn.Server(uvicorn.Config(app, host=HOST, port=port, log_config=None))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done()
        await asyncio.sleep(0.01)
    headers = {"Authorization": f"Bearer {await add_key(database)}"}
    url = f"http://{HOST}:{port}"
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
        yield client
    server.should_exit = True
    await serving


@pytest.fixture
async def running(database):
    """A job and the claim of its attempt, whose trainer runs."""
    await add_dataset(database)
    job = await add_job(database)
    claim = await add_claimed_attempt(database, job, await add_node(database))
    async with database.transaction() as session:
        await attempts.make_ready(session, claim)
    return job, claim


async def listen(client, path, *, after=None, until=lambda heard: False):
    """Return the events of a stream, to its end or to the one after which nobody listens."""
    heard, frame = [], {}
    headers = STREAM | ({"Last-Event-ID": after} if after else {})
    async with client.stream("GET", path, headers=headers, timeout=30) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if line and name:
                frame[name] = value
            elif frame:
                heard.append(Heard(frame["id"], frame["event"], json.loads(frame["data"])))
                frame = {}
                if until(heard):
                    break
    return heard


async def print_line(database, claim, text, *, rank=0, offset=0):
    async with attempts.fenced_write(database, claim) as (session, attempt):
        await logs.add(session, attempt, rank=rank, offset=offset, text=text)


async def test_stream_has_every_event_and_ends_with_the_job(served, database, running):
    job, claim = running
    listening = asyncio.create_task(listen(served, f"/v1/jobs/{job.id}/events"))
    await asyncio.sleep(0.5)
    await finish(database, claim, Reason.SUCCEEDED)
    heard = await asyncio.wait_for(listening, 20)
    stored = (await served.get(f"/v1/jobs/{job.id}/events")).json()
    assert [event.data for event in heard] == stored
    assert [event.number for event in heard] == [str(n + 1) for n in range(len(stored))]
    assert heard[-1].kind == "succeeded"


async def test_stream_goes_on_where_it_was_cut(served, database, running):
    job, claim = running
    path = f"/v1/jobs/{job.id}/events"
    first = await listen(served, path, until=lambda heard: len(heard) == 2)
    await finish(database, claim, Reason.SUCCEEDED)
    rest = await listen(served, path, after=first[-1].number)
    numbers = [int(event.number) for event in (*first, *rest)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert await listen(served, path, after=rest[-1].number) == []


async def test_stream_of_a_job_that_has_ended_ends_behind_what_happened_since(
    served, database, running
):
    job, claim = running
    checkpoint_id = await add_checkpoint(database, claim)
    await finish(database, claim, Reason.SUCCEEDED)
    assert (await served.post(f"/v1/checkpoints/{checkpoint_id}/pin")).status_code == 200
    heard = await asyncio.wait_for(listen(served, f"/v1/jobs/{job.id}/events"), 10)
    assert [event.kind for event in heard[-2:]] == ["succeeded", "checkpoint_pinned"]
    path = f"/v1/jobs/{job.id}/events"
    again = await asyncio.wait_for(listen(served, path, after=heard[-2].number), 10)
    assert [event.kind for event in again] == ["checkpoint_pinned"]


async def test_stream_from_behind_the_last_event_ends_with_the_job(served, database, running):
    job, claim = running
    path = f"/v1/jobs/{job.id}/events"
    listening = asyncio.create_task(listen(served, path, after="1000000"))
    await asyncio.sleep(0.3)
    await finish(database, claim, Reason.SUCCEEDED)
    heard = await asyncio.wait_for(listening, 10)
    assert heard[-1].kind == "succeeded"


async def test_long_history_comes_whole(served, database, running, monkeypatch):
    monkeypatch.setattr(streaming, "PAGE", 2)
    job, claim = running
    await finish(database, claim, Reason.SUCCEEDED)
    heard = await listen(served, f"/v1/jobs/{job.id}/events")
    assert len(heard) == len((await served.get(f"/v1/jobs/{job.id}/events")).json()) >= 4


async def test_silent_stream_is_kept_alive_and_holds_no_session(
    served, database, running, monkeypatch
):
    monkeypatch.setattr(streaming, "KEEP_ALIVE_SECONDS", 0.2)
    job, _ = running
    lines = []
    async with served.stream("GET", f"/v1/jobs/{job.id}/events", headers=STREAM) as answer:
        async for line in answer.aiter_lines():
            lines.append(line)
            if lines.count(": still here") == 3:
                break
    many = [listen(served, f"/v1/jobs/{job.id}/events") for _ in range(50)]
    listening = [asyncio.create_task(one) for one in many]
    await asyncio.sleep(1)
    assert (await served.get("/v1/jobs")).status_code == 200  # there are ten sessions
    async with database.transaction() as session:
        await control.cancel(session, job.id, forced=True)
    for task in listening:
        task.cancel()


async def test_log_is_followed_through_attempts(served, database, running):
    job, claim = running
    path = f"/v1/jobs/{job.id}/logs"
    await print_line(database, claim, "one\ntwo\nthree\n")
    assert (await served.get(path)).text == "one\ntwo\nthree\n"
    assert (await served.get(path, params={"tail": 2})).text == "two\nthree\n"
    listening = asyncio.create_task(listen(served, f"{path}?tail=1"))
    await asyncio.sleep(0.5)
    await print_line(database, claim, "four\n", offset=14)
    await finish(database, claim, Reason.WORKER_LOST)
    [node] = (await served.get("/v1/nodes")).json()
    second = await add_claimed_attempt(database, job, node["id"])
    async with database.transaction() as session:
        await attempts.make_ready(session, second)
    await print_line(database, second, "again\n")
    await finish(database, second, Reason.SUCCEEDED)
    *heard, end = await asyncio.wait_for(listening, 20)
    told = [(event.data["attempt"], event.data["text"]) for event in heard]
    assert told == [(1, "three\n"), (1, "four\n"), (2, "again\n")]
    assert (end.kind, end.data["status"]) == ("end", "succeeded")
    *rest, _ = await listen(served, path, after=heard[0].number)
    assert [event.data["text"] for event in rest] == ["four\n", "again\n"]
    assert (await served.get(path)).text == "again\n"
    assert (await served.get(path, params={"attempt": 1, "tail": 1})).text == "four\n"
    assert (await served.get(path, params={"rank": 3})).text == ""


async def test_long_log_keeps_its_end(served, database, running, monkeypatch):
    monkeypatch.setattr(logs, "MAX_LOG_BYTES", 100)
    job, claim = running
    for number in range(50):
        await print_line(database, claim, f"line {number:02}\n", offset=8 * number)
    text = (await served.get(f"/v1/jobs/{job.id}/logs")).text
    assert text.endswith("line 49\n")
    assert 100 <= len(text) < 120
