"""Rate limits, with the broker and without it; and what Prometheus reads."""

import asyncio
import re

import pytest
from building import (
    add_checkpoint,
    add_claimed_attempt,
    add_dataset,
    add_job,
    add_key,
    add_node,
    finish,
)
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis
from sqlalchemy import text

from services.database import attempts, nodes
from services.domain.states import Reason
from services.messaging.rate_limits import RateLimits
from services.settings import BrokerSettings


@pytest.fixture
async def broker(servers):
    redis = Redis.from_url(servers["NVAE_BROKER_URL"])
    await redis.flushdb()
    yield redis
    await redis.aclose()


def limits(url, *, now=lambda: 60_000_000.0, per_minute=10):
    return RateLimits(BrokerSettings(url=url), per_minute=per_minute, now=now)


async def test_caller_is_told_how_much_is_left_and_when_to_come_back(connected, database):
    async with connected(await add_key(database), requests_per_minute=3) as client:
        answers = [await client.get("/v1/jobs") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert [a.headers["RateLimit-Remaining"] for a in answers] == ["2", "1", "0", "0"]
        assert answers[0].headers["RateLimit-Limit"] == "3"
        refused = answers[3]
        assert refused.json()["code"] == "rate_limited"
        assert 1 <= int(refused.headers["Retry-After"]) <= 61
        other = {"Authorization": f"Bearer {await add_key(database)}"}
        assert (await client.get("/v1/jobs", headers=other)).status_code == 200
        assert (await client.get("/healthz")).status_code == 200


async def test_guessing_keys_is_limited_too(connected):
    async with connected("nvae_guess", requests_per_minute=2) as client:
        statuses = [(await client.get("/v1/jobs")).status_code for _ in range(3)]
    assert statuses == [401, 401, 429]


async def test_processes_share_a_limit(servers, broker):
    one, two = (limits(servers["NVAE_BROKER_URL"]) for _ in range(2))
    for rates in (one, two):
        assert all(rates.take("a").allowed for _ in range(5))
    for rates in (one, two, one):
        await rates.share(broker)
    assert not one.take("a").allowed
    assert not two.take("a").allowed
    assert one.take("b").allowed
    await asyncio.gather(one.share(broker), two.share(broker))
    assert await broker.get("requests:1000000:a") == b"10"


async def test_new_minute_begins_anew(servers):
    now = [60.0]
    rates = limits(servers["NVAE_BROKER_URL"], now=lambda: now[0], per_minute=1)
    assert rates.take("a").allowed
    assert not rates.take("a").allowed
    now[0] = 119.0
    assert (rates.take("a").allowed, rates.take("a").reset_seconds) == (False, 2)
    now[0] = 120.0
    assert rates.take("a").allowed


async def test_each_process_counts_alone_while_the_broker_is_away(caplog):
    rates = limits("redis://127.0.0.1:1/0", per_minute=2)
    rates.start()
    assert [rates.take("a").allowed for _ in range(3)] == [True, True, False]
    await asyncio.sleep(1.3)
    assert not rates.take("a").allowed
    await rates.close()


async def test_time_in_the_queue_begins_anew_when_a_job_comes_back(api, database):
    await add_dataset(database)
    node_id = await add_node(database)
    lost = await add_job(database)
    async with database.transaction() as session:
        await session.execute(text("UPDATE jobs SET created_at = created_at - interval '1 day'"))
    await finish(database, await add_claimed_attempt(database, lost, node_id), Reason.NODE_LOST)
    seconds = re.compile(r'nvae_queue_oldest_seconds\{reason="waiting_for_retry"\} (\S+)')
    [age] = seconds.findall((await api.get("/metrics")).text)
    assert 0 <= float(age) < 60


async def test_training_that_comes_back_has_saved_nothing_since_then(api, database):
    await add_dataset(database)
    claim = await add_claimed_attempt(database, await add_job(database), await add_node(database))
    async with database.transaction() as session:
        await attempts.make_ready(session, claim)
        for table, ago in (("jobs", "1 day"), ("attempts", "100 seconds")):
            await session.execute(text(f"UPDATE {table} SET started_at = now() - interval '{ago}'"))
    seconds = re.compile(r'nvae_checkpoint_oldest_seconds\{status="running"\} (\S+)')
    [age] = seconds.findall((await api.get("/metrics")).text)
    assert 100 <= float(age) < 160


async def test_counts_are_those_of_the_service(api, database, servers):
    await add_dataset(database)
    node_id = await add_node(database)
    async with database.transaction() as session:
        disk = nodes.Disk(total_bytes=1000, free_bytes=400)
        await nodes.renew(session, node_id, lease_seconds=30, disk=disk)
    await add_node(database, "gone", lease_seconds=-1)
    claim = await add_claimed_attempt(database, await add_job(database), node_id)
    await add_checkpoint(database, claim)
    await finish(database, claim, Reason.OUT_OF_MEMORY)
    await add_job(database, resources={"slots": 2})
    assert (await api.get("/v1/jobs/job_x")).status_code == 404
    answer = await api.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    found = {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert found["nvae_jobs", "train", "failed"] == 1
    assert found["nvae_jobs", "train", "queued"] == 1
    assert found["nvae_attempts_ended_total", "out_of_memory"] == 1
    assert found["nvae_attempts_ended_total", "node_lost"] == 0  # a rate needs a beginning
    assert found["nvae_slots", "cpu", "free"] == 2
    disks = {key: value for key, value in found.items() if key[0].startswith("nvae_node_disk")}
    assert disks == {("nvae_node_disk_bytes", "n1"): 1000, ("nvae_node_disk_free_bytes", "n1"): 400}
    assert found["nvae_checkpoint_bytes", "committed"] == 3
    assert found["nvae_queue_oldest_seconds", "waiting_for_slots"] > 0
    assert found["nvae_http_requests_total", "GET", "/v1/jobs/{job_id}", "404"] == 1
    assert "nvae_slot_seconds_total" in {name for name, *_ in found}
