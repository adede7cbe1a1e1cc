"""How fast the API is: reads and submissions by wrk, pages of a long list, many streams, memory.

`python -m benchmarks.api_speed [--seconds S] [--jobs N] [--streams N]`; needs `wrk`. One process of
the API with authentication, Postgres with fsync, everything on this machine. Reading is measured in
turn with a bare route in a process of its own.
"""

import argparse
import asyncio
import json
import re
import secrets
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping

import httpx
import psycopg
from sqlalchemy import make_url

from benchmarks.claimed_attempts import claim_attempts, database_settings, own_servers
from benchmarks.memory import resident_mebibytes
from benchmarks.serving import add_key, new_key, served
from services.database.session import Database

NUM_ROUNDS = 3
NUM_PAGES = 300
UNLIMITED = {"NVAE_API_REQUESTS_PER_MINUTE": "1000000000"}
COPY = """
INSERT INTO jobs (id, project, kind, name, spec, resolved, tags, priority, num_slots, status)
SELECT 'job_' || lpad(to_hex(number), 32, '0'), project, kind, 'copy', spec, resolved, tags,
    priority, num_slots, 'cancelled' FROM jobs, generate_series(1, %s) AS number WHERE id = %s
"""
SUBMIT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"kind": "train", "preset": "mnist-cpu", "dataset": "mnist"}'
"""


def main() -> None:
    """Measure everything, and print one JSON line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--streams", type=int, default=500)
    arguments = parser.parse_args()
    key = new_key()
    with own_servers() as environment:
        add_key(environment, key)
        job_id = asyncio.run(fill(environment, arguments.jobs))
        with (
            served("services.api", {**environment, **UNLIMITED}) as (url, process),
            served("benchmarks.bare_api", environment) as (bare_url, _),
        ):
            tell("idle memory of the API", mebibytes=resident_mebibytes(process.pid))
            compare_reading(url, bare_url, job_id, key, arguments.seconds)
            measure_list(url, key, arguments.jobs)
            asyncio.run(measure_streams(url, job_id, key, environment, arguments.streams))
            measure_submitting(url, key, arguments.seconds)
            tell("memory of the API afterwards", mebibytes=resident_mebibytes(process.pid))


def tell(what: str, **figures: object) -> None:
    """Print a figure."""
    print(json.dumps({"what": what, **figures}), flush=True)


async def fill(environment: Mapping[str, str], num_jobs: int) -> str:
    """Store a running job and as many others; return its id."""
    database = Database(database_settings(environment))
    [job_id] = await claim_attempts(database, 1)
    await database.close()
    url = make_url(environment["NVAE_DATABASE_URL"]).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
        connection.execute(COPY, (num_jobs, job_id))
    return job_id


def wrk(url: str, key: str, seconds: int, *options: str) -> tuple[float, float]:
    """Return requests per second and the 99th percentile in milliseconds."""
    shape = ["-t1", "-c16", f"-d{seconds}s", "--latency", "-H", f"Authorization: Bearer {key}"]
    output = subprocess.run(
        ["wrk", *shape, *options, url], capture_output=True, text=True, check=True
    ).stdout
    assert "Non-2xx" not in output, output
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)\n", output)
    assert rate
    assert p99
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}[p99[2]]
    return float(rate[1]), scale * float(p99[1])


def compare_reading(url: str, bare_url: str, job_id: str, key: str, seconds: int) -> None:
    """Read one job, in turn with the bare route."""
    path = f"/v1/jobs/{job_id}"
    rounds = [
        (wrk(f"{url}{path}", key, seconds), wrk(f"{bare_url}{path}", key, seconds))
        for _ in range(NUM_ROUNDS)
    ]
    tell(
        "reading a job",
        per_second=round(statistics.median(ours[0] for ours, _ in rounds)),
        p99_ms=round(statistics.median(ours[1] for ours, _ in rounds), 1),
        bare_per_second=round(statistics.median(bare[0] for _, bare in rounds)),
        of_bare=round(statistics.median(ours[0] / bare[0] for ours, bare in rounds), 2),
    )


def measure_submitting(url: str, key: str, seconds: int) -> None:
    """Submit trainings."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SUBMIT)
        script.flush()
        rounds = [wrk(f"{url}/v1/jobs", key, seconds, "-s", script.name) for _ in range(NUM_ROUNDS)]
    tell(
        "submitting a training",
        per_second=round(statistics.median(rate for rate, _ in rounds)),
        p99_ms=round(statistics.median(p99 for _, p99 in rounds), 1),
    )


def measure_list(url: str, key: str, num_jobs: int) -> None:
    """Go through pages of the list, one request after the other."""
    seconds, cursor = [], None
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
        for _ in range(NUM_PAGES):
            began_at = time.perf_counter()
            parameters: dict[str, str] = {"cursor": cursor} if cursor else {}
            page = client.get("/v1/jobs", params=parameters).raise_for_status().json()
            seconds.append(time.perf_counter() - began_at)
            cursor = page["next_cursor"]
    p95 = sorted(seconds)[int(0.95 * len(seconds))]
    tell("a page of 50 jobs", jobs=num_jobs, p95_ms=round(1000 * p95, 1))


async def measure_streams(
    url: str, job_id: str, key: str, environment: Mapping[str, str], num_streams: int
) -> None:
    """Open many streams of a job's events, let something happen, and see when all have heard."""
    heard: list[float] = []
    limits = httpx.Limits(max_connections=num_streams + 1)
    headers = {"Authorization": f"Bearer {key}", "Accept": "text/event-stream"}
    client = httpx.AsyncClient(
        base_url=url, headers=headers, limits=limits, timeout=60, trust_env=False
    )

    async def listen() -> None:
        async with client.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
            async for line in answer.aiter_lines():
                if line == "event: changed":
                    heard.append(time.perf_counter())
                    return

    async with client, asyncio.TaskGroup() as group:
        for _ in range(num_streams):
            group.create_task(listen())
        await asyncio.sleep(15)  # all are open, and nobody has come for a while
        sessions = busy_sessions(environment)
        began_at = time.perf_counter()
        changed = await client.patch(f"/v1/jobs/{job_id}", json={"name": secrets.token_hex(4)})
        changed.raise_for_status()
    tell(
        "an event to all streams",
        streams=len(heard),
        seconds=round(max(heard) - began_at, 2),
        sessions_in_transaction_before=sessions,
    )


def busy_sessions(environment: Mapping[str, str]) -> int:
    """Return how many sessions of Postgres are in a transaction, but for this one."""
    url = make_url(environment["NVAE_DATABASE_URL"]).set(drivername="postgresql")
    query = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE %s AND pid <> pg_backend_pid()"
    with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
        row = connection.execute(query, ("idle in transaction%",)).fetchone()
    assert row
    return int(row[0])


if __name__ == "__main__":
    main()
