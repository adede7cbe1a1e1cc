"""Clients that vanish, dawdle and send too much, on sockets of their own."""

import json
import random
import socket
import struct
import time

import httpx
import psycopg
import pytest
from building import add_dataset, add_key
from serving import served
from sqlalchemy import make_url, text

from services.local.state import HOST

NUM_VANISHING = 60
NUM_SLOW = 300
BODY = {"kind": "train", "preset": "mnist-test", "dataset": "mnist"}


@pytest.fixture
async def key(database):
    await add_dataset(database)
    return await add_key(database)


@pytest.fixture(scope="module")
def port(servers, tmp_path_factory):
    log = tmp_path_factory.mktemp("api") / "log"
    with served(servers, log) as port:
        yield port
    assert '"status": 5' not in log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.fixture
def api(port, key):
    headers = {"Authorization": f"Bearer {key}"}
    url = f"http://{HOST}:{port}"
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


def submission(key, idempotency_key=None):
    """A whole request, as bytes."""
    body = json.dumps(BODY)
    lines = [
        "POST /v1/jobs HTTP/1.1",
        f"Host: {HOST}",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *([f"Idempotency-Key: {idempotency_key}"] if idempotency_key else []),
    ]
    return "\r\n".join([*lines, "", body]).encode()


def send_and_vanish(port, content, *, after_seconds=0.0):
    """Send it and reset the connection: nobody is there for the answer."""
    with socket.create_connection((HOST, port)) as connection:
        connection.sendall(content)
        time.sleep(after_seconds)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def stored(database):
    """How many jobs there are, and how many of them have their first event."""
    query = "SELECT count(*), count(number) FROM jobs LEFT JOIN events ON job_id = id"
    async with database.transaction() as session:
        [row] = await session.execute(text(query))
        return tuple(row)


async def test_client_that_vanishes_leaves_one_whole_job_or_nothing(port, api, key, database):
    draw = random.Random(0)
    for number in range(NUM_VANISHING):
        whole = submission(key, f"vanishing {number}")
        cut = draw.choice([len(whole), draw.randrange(len(whole))])
        send_and_vanish(port, whole[:cut], after_seconds=draw.choice([0, 0.001, 0.01]))
    num_left, num_events = await stored(database)
    assert num_left == num_events <= NUM_VANISHING
    ids = set()
    for number in range(NUM_VANISHING):
        answer = api.post("/v1/jobs", json=BODY, headers={"Idempotency-Key": f"vanishing {number}"})
        # Spaces differ between the two bodies, so one that took effect before is told apart.
        assert answer.status_code in {201, 422}
        if answer.status_code == 201:
            ids.add(answer.json()["id"])
        else:
            assert answer.json()["code"] == "idempotency_key_reused"
    num_jobs, num_events = await stored(database)
    assert num_jobs == num_events == NUM_VANISHING
    assert 0 < len(ids) < NUM_VANISHING


def test_slow_clients_hold_nobody_up_and_no_session(port, api, key, servers):
    slow = [socket.create_connection((HOST, port)) for _ in range(NUM_SLOW)]
    try:
        for number, connection in enumerate(slow):
            whole = submission(key)
            connection.sendall(whole[: len(whole) - 1 - number % 20])
        api.get("/healthz").raise_for_status()
        assert num_open_transactions(servers) == 0
        assert api.post("/v1/jobs", json=BODY).status_code == 201
        assert len(api.get("/v1/jobs").json()["jobs"]) == 1
        whole = submission(key)
        slow[0].sendall(whole[len(whole) - 1 :])
        assert slow[0].recv(4096).startswith(b"HTTP/1.1 201")
        assert len(api.get("/v1/jobs").json()["jobs"]) == 2
    finally:
        for connection in slow:
            connection.close()


def num_open_transactions(servers):
    url = make_url(servers["NVAE_DATABASE_URL"]).set(drivername="postgresql")
    query = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
    with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
        return connection.execute(query).fetchone()[0]


def endless():
    while True:
        yield b" " * 65536


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        pytest.param(b"[" * 500_000, {}, 400, id="nested too deeply"),
        pytest.param(b'{"kind": ' * 100_000, {}, 400, id="objects in objects"),
        pytest.param(b'{"seed": 1' + b"0" * 900_000 + b"}", {}, 400, id="a number without end"),
        pytest.param(b'{"name": "\\ud800"}', {}, 422, id="half a character"),
        pytest.param(b"\xff\xfe{", {}, 400, id="no text"),
        pytest.param(b"{}", {"Content-Encoding": "gzip"}, 422, id="not what it says"),
        pytest.param(endless(), {}, 413, id="endless"),
    ],
)
def test_body_that_is_no_submission_is_refused(api, content, headers, status):
    sent = {"Content-Type": "application/json", **headers}
    try:
        answer = api.post("/v1/jobs", content=content, headers=sent)
    except httpx.TransportError:  # it has answered, and does not listen to the rest
        assert status == 413
    else:
        assert answer.status_code == status, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert api.get("/v1/jobs").json()["jobs"] == []


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"X: " + b"x" * 1_000_000, id="a header without end"),
        pytest.param(b"Content-Length: 3\r\nContent-Length: 5", id="two lengths"),
        pytest.param(b"Content-Length: -1", id="a length below zero"),
        pytest.param(b"Content-Length: 5\r\nTransfer-Encoding: chunked", id="two ends"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\nzz", id="a chunk that is none"),
    ],
)
def test_request_that_is_none_makes_no_job(port, api, key, head):
    request = b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + key.encode()
    with socket.create_connection((HOST, port), timeout=10) as connection:
        try:
            connection.sendall(request + b"\r\n" + head + b"\r\n\r\n")
            answer = connection.recv(4096)
        except OSError:  # it has hung up already
            answer = b""
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert api.get("/v1/jobs").json()["jobs"] == []
