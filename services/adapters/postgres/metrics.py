"""Metrics as they come in: the values of a job's series, and the extremes of each block of steps.

A block's extremes are computed anew from its values whenever one of them is stored, so they are
right however often and in which order values are published.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    DateTime,
    Double,
    Select,
    TableValuedAlias,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.adapters.postgres.tables import Metric, MetricBlock, MetricSeries

BLOCK_STEPS = 128
"""Steps per block: a chart of a million steps reads 7813 rows, and one value renews 128 at most."""

_NOT_FINITE = (float("nan"), float("inf"), float("-inf"))


@dataclass(frozen=True)
class MetricValues:
    """The values of several metrics at one step."""

    step: int
    at: datetime
    values: dict[str, float]


async def store(session: AsyncSession, job_id: str, measured: Sequence[MetricValues]) -> None:
    """Store values of a locked job, one per (name, step); the last one stays."""
    by_name: dict[str, dict[int, tuple[float, str]]] = defaultdict(dict)
    for point in measured:
        at = point.at.isoformat()
        for name, value in point.values.items():
            by_name[name][point.step] = (value, at)
    ids = await _find_series(session, job_id, by_name)
    rows = [
        (ids[name], step, value, at)
        for name, points in by_name.items()
        for step, (value, at) in points.items()
    ]
    if rows:
        await _store_values(session, rows)
        blocks = {(series_id, step // BLOCK_STEPS) for series_id, step, _, _ in rows}
        await _renew_blocks(session, sorted(blocks))


def extremes(points: CTE) -> Select[Any]:
    """Return the lowest and the highest point of each series and bucket, each at its first step.

    What is not finite hides nothing: NaN and the infinities are kept beside the finite extremes.

    Args:
        points: with columns series_id, bucket, step and value.
    """
    series_id, bucket, step, value = (points.c[n] for n in ("series_id", "bucket", "step", "value"))
    kind = case((value.in_(_NOT_FINITE), value), else_=0.0)
    limits = (
        select(series_id, bucket, func.min(value).label("low"), func.max(value).label("high"))
        .group_by(series_id, bucket, kind)
        .subquery()
    )
    is_extreme = value.in_((limits.c.low, limits.c.high))
    same = and_(limits.c.series_id == series_id, limits.c.bucket == bucket, is_extreme)
    found = select(series_id, bucket, func.min(step).label("step"), value).join(limits, same)
    return found.group_by(series_id, bucket, value)


async def _find_series(session: AsyncSession, job_id: str, names: Iterable[str]) -> dict[str, int]:
    """Return the ids of a locked job's series by name; new names get new ones."""
    query = select(MetricSeries.name, MetricSeries.id).where(MetricSeries.job_id == job_id)
    ids = {name: series_id for name, series_id in await session.execute(query)}
    new = [{"job_id": job_id, "name": name} for name in names if name not in ids]
    if new:
        statement = insert(MetricSeries).values(new)
        added = await session.execute(statement.returning(MetricSeries.name, MetricSeries.id))
        ids |= {name: series_id for name, series_id in added}
    return ids


async def _store_values(session: AsyncSession, rows: Sequence[tuple[int, int, float, str]]) -> None:
    columns = {
        "series_id": BigInteger(),
        "step": BigInteger(),
        "value": Double(),
        "at": DateTime(timezone=True),
    }
    given = _table(columns, rows)
    statement = insert(Metric).from_select(list(columns), select(*given.c))
    replaced = {"value": statement.excluded.value, "at": statement.excluded.at}
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[Metric.series_id, Metric.step], set_=replaced
        )
    )


async def _renew_blocks(session: AsyncSession, blocks: Sequence[tuple[int, int]]) -> None:
    given = _table({"series_id": BigInteger(), "block": BigInteger()}, blocks)
    start = given.c.block * BLOCK_STEPS
    within = (
        select(Metric.step, Metric.value)
        .where(
            Metric.series_id == given.c.series_id,
            Metric.step.between(start, start + (BLOCK_STEPS - 1)),
        )
        .offset(0)  # a look-up in the index for each block, whatever the statistics say
        .lateral()
    )
    points = select(
        given.c.series_id, given.c.block.label("bucket"), within.c.step, within.c.value
    ).join_from(given, within, true())
    found = extremes(points.cte("points")).subquery()
    rows = select(
        found.c.series_id,
        found.c.bucket,
        func.array_agg(aggregate_order_by(found.c.step, found.c.step)),
        func.array_agg(aggregate_order_by(found.c.value, found.c.step)),
    ).group_by(found.c.series_id, found.c.bucket)
    names = ["series_id", "block", "steps", "values"]
    statement = insert(MetricBlock).from_select(names, rows)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[MetricBlock.series_id, MetricBlock.block],
            set_={name: statement.excluded[name] for name in ("steps", "values")},
        )
    )


def _table(columns: dict[str, Any], rows: Sequence[tuple[Any, ...]]) -> TableValuedAlias:
    """Return rows as a table that is sent as one text per column: one row each would be slow.

    So would be lists of numbers, because the driver looks at each of them.
    """
    arrays = (
        cast(literal(f"{{{','.join(map(str, values))}}}", Text()), ARRAY(type_))
        for type_, values in zip(columns.values(), zip(*rows, strict=True), strict=True)
    )
    return func.unnest(*arrays).table_valued(*columns).render_derived()
