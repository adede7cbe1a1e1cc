"""How many points of metrics per second reach Postgres behind the fence.

`python -m benchmarks.metric_ingest [--jobs N] [--lines N] [--rounds N]`. Several attempts store
lines of 40 names at once, each batch in a fenced transaction as the runners do it, and every fifth
batch twice, as after a commit of unknown outcome. The ceiling copies as many rows, numbers and no
texts, into a table without any index. At the end all that is stored is compared with what was
reported, on disk: fsync is on.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from sqlalchemy import text

from benchmarks.claimed_attempts import claim_attempts, database_settings, own_servers
from services.database import attempts, metrics
from services.database.attempts import Claim
from services.database.metrics import MetricValues
from services.database.session import Database
from services.settings import DatabaseSettings
from services.worker.publish.publisher import MAX_LINES

NAMES = (
    *("loss", "reconstruction_loss", "kl", "weighted_kl", "negative_elbo", "bits_per_dim"),
    *("spectral_norm_sum", "batch_norm_penalty", "kl_weight", "learning_rate", "gradient_norm"),
    *("images_per_second", "data_wait_share", "peak_memory_bytes", "step_seconds/slowest_rank"),
    "active_channels",
    *(f"kl/group_{group:02}" for group in range(12)),
    *(f"active_channels/group_{group:02}" for group in range(12)),
)
AT = datetime(2026, 1, 1, tzinfo=UTC)
REPORT_EVERY_STEPS = 10
TWICE_EVERY = 5

BARE = "CREATE TABLE bare (series int8, step int8, value float8, at timestamptz)"
WRONG = """
SELECT count(*) FROM metrics
WHERE value <> step * 100 + length((SELECT name FROM metric_series WHERE id = series_id))
"""
WRONG_BLOCKS = """
SELECT count(*) FROM metric_blocks WHERE (steps[1], steps[2]) <> (
    SELECT min(step), max(step) FROM metrics WHERE series_id = metric_blocks.series_id
    AND step BETWEEN block * 128 AND block * 128 + 127)
"""


def main() -> None:
    """Measure, print, and compare what is stored."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--lines", type=int, default=2_000, help="of each job, in each round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--every", type=int, default=REPORT_EVERY_STEPS, help="steps per line")
    arguments = parser.parse_args()
    with own_servers() as environment:
        asyncio.run(measure(database_settings(environment), arguments))


async def measure(settings: DatabaseSettings, options: argparse.Namespace) -> None:
    """Print the medians of several rounds, each with the ceiling beside it."""
    database = Database(settings)
    claims = list((await claim_attempts(database, options.jobs)).values())
    async with database.transaction() as session:
        await session.execute(text(BARE))
    num_points = options.jobs * options.lines * len(NAMES)
    ours, bare = [], []
    for round_ in range(options.rounds):
        lines = report(range(round_ * options.lines, (round_ + 1) * options.lines), options.every)
        start = time.perf_counter()
        num_stored = sum(await asyncio.gather(*(store(database, c, lines) for c in claims)))
        ours.append(num_stored / (time.perf_counter() - start))
        start = time.perf_counter()
        await asyncio.gather(*(copy(database, number, lines) for number in range(options.jobs)))
        bare.append(num_points / (time.perf_counter() - start))
        print(f"round {round_}: {ours[-1]:.0f} points per second, ceiling {bare[-1]:.0f}")
    ratios = [mine / ceiling for mine, ceiling in zip(ours, bare, strict=True)]
    print(
        f"median {statistics.median(ours):.0f} points per second ({min(ours):.0f} to "
        f"{max(ours):.0f}), ceiling {statistics.median(bare):.0f}, "
        f"ratio {statistics.median(ratios):.3f}"
    )
    await verify(database, num_points * options.rounds)
    await database.close()


def report(numbers: Sequence[int], every: int) -> list[MetricValues]:
    """Return the values of these lines: each tells its step and its name."""
    return [
        MetricValues(number * every, AT, {n: number * every * 100.0 + len(n) for n in NAMES})
        for number in numbers
    ]


def batches(lines: Sequence[MetricValues]) -> Iterator[Sequence[MetricValues]]:
    """Yield the lines as a runner takes them, and some batches again."""
    bounds = [*range(0, len(lines), MAX_LINES), len(lines)]
    for number, (start, end) in enumerate(pairwise(bounds)):
        yield lines[start:end]
        if number % TWICE_EVERY == TWICE_EVERY - 1:
            yield lines[start:end]


async def store(database: Database, claim: Claim, lines: Sequence[MetricValues]) -> int:
    """Store the lines of one attempt; return the number of points that were sent."""
    num_points = 0
    for batch in batches(lines):
        async with attempts.fenced_write(database, claim) as (session, attempt):
            await metrics.add_metrics(session, attempt, batch)
        num_points += len(batch) * len(NAMES)
    return num_points


async def copy(database: Database, number: int, lines: Sequence[MetricValues]) -> None:
    """Do what cannot be left out."""
    connection = await database.connect()
    async with connection, connection.cursor() as cursor:
        for start in range(0, len(lines), MAX_LINES):
            async with (
                connection.transaction(),
                cursor.copy("COPY bare FROM STDIN (FORMAT BINARY)") as copying,
            ):
                copying.set_types(["int8", "int8", "float8", "timestamptz"])
                for point in lines[start : start + MAX_LINES]:
                    for name, value in enumerate(point.values.values()):
                        await copying.write_row((number * 100 + name, point.step, value, point.at))


async def verify(database: Database, num_points: int) -> None:
    """Raise unless every point is there once, with its value, and the blocks are right."""
    async with database.transaction() as session:
        fsync = await session.scalar(text("SHOW fsync"))
        found = await session.scalar(text("SELECT count(*) FROM metrics"))
        wrong = await session.scalar(text(WRONG))
        wrong_blocks = await session.scalar(text(WRONG_BLOCKS))
        size = await session.scalar(text("SELECT pg_total_relation_size('metrics')"))
        blocks = await session.scalar(text("SELECT pg_total_relation_size('metric_blocks')"))
    if (fsync, found, wrong, wrong_blocks) != ("on", num_points, 0, 0):
        raise AssertionError(f"{found} of {num_points}, {wrong} wrong, {wrong_blocks} wrong blocks")
    print(
        f"{found} points are stored once and right, fsync {fsync}; "
        f"{size / found:.0f} bytes each, {blocks / found:.1f} for the blocks"
    )


if __name__ == "__main__":
    main()
