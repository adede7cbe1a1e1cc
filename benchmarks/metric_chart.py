"""How long a chart of 500 points out of a series of a million takes over HTTP.

`python -m benchmarks.metric_chart [--steps N] [--points N]`. The series is stored as runners do it,
with narrow spikes and values that are not finite, and asked for from an API process of its own. All
of them must be in the answer. The ceiling selects as many rows by their keys.
"""

import argparse
import asyncio
import math
import random
import secrets
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import psycopg
from sqlalchemy import make_url

from benchmarks.claimed_attempts import claim_attempts, database_settings, own_servers
from benchmarks.serving import add_key, served
from nvae_client import Columns, NvaeClient
from services.database import attempts, metrics
from services.database.metrics import MetricValues
from services.database.session import Database
from services.domain.access import KEY_BYTES, make_key

NUM_ROUNDS = 31
LINES_PER_BATCH = 2_000
NUM_SPIKES = 20
AT = datetime(2026, 1, 1, tzinfo=UTC)
BY_KEY = """
SELECT step, value FROM metrics WHERE step = ANY(%s)
AND series_id = (SELECT id FROM metric_series WHERE job_id = %s AND name = 'loss')
"""


def main() -> None:
    """Store the series, ask for its charts, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--points", type=int, default=500)
    arguments = parser.parse_args()
    spikes = plant(arguments.steps)
    with own_servers() as environment:
        job_id = asyncio.run(fill(environment, arguments.steps, spikes))
        key = make_key(secrets.token_bytes(KEY_BYTES))
        add_key(environment, key)
        with served("services.api", environment) as (url, _), NvaeClient(url, key) as client:
            measure(environment, client, job_id, arguments.points, spikes)


def plant(num_steps: int) -> dict[int, float]:
    """Return values that stand out, each in its own part of the series, and some at one place."""
    draw = random.Random(0)  # noqa: S311 - not a secret
    part = num_steps // NUM_SPIKES
    spikes = {n * part + draw.randrange(1, part - 10): 100.0 + n for n in range(NUM_SPIKES)}
    middle = max(spikes) - 5
    return spikes | {middle: math.nan, middle + 1: math.inf, middle + 2: -math.inf}


async def fill(environment: Mapping[str, str], num_steps: int, spikes: dict[int, float]) -> str:
    """Store the series of a job, and another one beside it; return the job's id."""
    database = Database(database_settings(environment))
    [(job_id, claim)] = (await claim_attempts(database, 1)).items()
    draw = random.Random(1)  # noqa: S311 - not a secret
    for start in range(0, num_steps, LINES_PER_BATCH):
        steps = range(start, min(start + LINES_PER_BATCH, num_steps))
        losses = {step: spikes.get(step, draw.gauss(1.0, 0.1)) for step in steps}
        lines = [MetricValues(n, AT, {"loss": loss, "kl": 1.0}) for n, loss in losses.items()]
        async with attempts.fenced_write(database, claim) as (session, attempt):
            await metrics.add_metrics(session, attempt, lines)
    await database.close()
    return job_id


def measure(
    environment: Mapping[str, str],
    client: NvaeClient,
    job_id: str,
    max_points: int,
    spikes: dict[int, float],
) -> None:
    """Print how long a chart and the ceiling take, in turn, and check the chart."""
    url = make_url(environment["NVAE_DATABASE_URL"]).set(drivername="postgresql")
    ours, bare = [], []
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")  # as autovacuum does it within a minute

        job = client.jobs.get(job_id)

        def ask() -> Columns:
            return job.metrics(names=["loss"], max_points=max_points)["loss"]

        def select() -> list[Any]:
            return connection.execute(BY_KEY, (chart["step"], job_id)).fetchall()

        chart = ask()
        for _ in range(NUM_ROUNDS):
            ours.append(seconds(ask))
            bare.append(seconds(select))
        stored = dict(select())
    check(chart, stored, spikes, max_points)
    print(
        f"{len(chart['step'])} points: median {1000 * statistics.median(ours):.1f} ms over HTTP "
        f"(slowest of {NUM_ROUNDS} {1000 * max(ours):.1f} ms); "
        f"the same rows by key {1000 * statistics.median(bare):.1f} ms"
    )


def check(
    chart: Columns, stored: dict[int, float], spikes: dict[int, float], max_points: int
) -> None:
    """Raise unless the chart is true and has all that stands out."""
    values = dict(zip(chart["step"], chart["value"], strict=True))
    missing = spikes.keys() - values.keys()
    wrong = [n for n, value in values.items() if repr(value) != repr(stored[n])]
    if missing or wrong or len(values) > max_points:
        raise AssertionError(f"missing {missing}, wrong {wrong}, {len(values)} points")


def seconds(work: Callable[[], object]) -> float:
    """Return how long the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
