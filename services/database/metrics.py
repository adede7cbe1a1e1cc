"""Metrics of jobs: values as they come in, extremes of each block of steps, and charts of both.

A block's extremes are computed anew from its values whenever one of them is stored, so they are
right however often and in which order values are published.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    CompoundSelect,
    DateTime,
    Double,
    Executable,
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
    union,
    union_all,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.database import jobs
from services.database.tables import Attempt, Metric, MetricBlock, MetricSeries

BLOCK_STEPS = 128
"""Steps per block: a chart of a million steps reads 7813 rows, and one value renews 128 at most."""
_NOT_FINITE = (float("nan"), float("inf"), float("-inf"))
MIN_POINTS = 10  # the first one, the last one, and what one bucket can have
FINITE_EXTREMES = 2  # of one bucket
ALL_EXTREMES = 5  # with NaN and both infinities


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
    points_at_extremes = select(series_id, bucket, func.min(step).label("step"), value).join(
        limits, same
    )
    return points_at_extremes.group_by(series_id, bucket, value)


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
    table = _table(columns, rows)
    statement = insert(Metric).from_select(list(columns), select(*table.c))
    replaced = {"value": statement.excluded.value, "at": statement.excluded.at}
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[Metric.series_id, Metric.step], set_=replaced
        )
    )


async def _renew_blocks(session: AsyncSession, blocks: Sequence[tuple[int, int]]) -> None:
    table = _table({"series_id": BigInteger(), "block": BigInteger()}, blocks)
    start = table.c.block * BLOCK_STEPS
    within = (
        select(Metric.step, Metric.value)
        .where(
            Metric.series_id == table.c.series_id,
            Metric.step.between(start, start + (BLOCK_STEPS - 1)),
        )
        .offset(0)  # a look-up in the index for each block, whatever the statistics say
        .lateral()
    )
    points = select(
        table.c.series_id, table.c.block.label("bucket"), within.c.step, within.c.value
    ).join_from(table, within, true())
    block_extremes = extremes(points.cte("points")).subquery()
    rows = select(
        block_extremes.c.series_id,
        block_extremes.c.bucket,
        func.array_agg(aggregate_order_by(block_extremes.c.step, block_extremes.c.step)),
        func.array_agg(aggregate_order_by(block_extremes.c.value, block_extremes.c.step)),
    ).group_by(block_extremes.c.series_id, block_extremes.c.bucket)
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


async def add_metrics(
    session: AsyncSession, attempt: Attempt, measured: Sequence[MetricValues]
) -> None:
    """Store values, one row per (job, name, step), and show the newest on the job."""
    if not measured:
        return
    await store(session, attempt.job_id, measured)
    job = await jobs.find(session, attempt.job_id, lock=True)
    job.step = measured[-1].step
    # Not every name is in every line: validation comes by itself, and less often.
    latest = {name: value for point in measured for name, value in point.values.items()}
    shown = {name: json_number(value) for name, value in latest.items()}
    job.latest_metrics = {**(job.latest_metrics or {}), **shown}


async def set_totals(
    session: AsyncSession,
    attempt: Attempt,
    *,
    num_steps: int,
    num_parameters: int | None,
    device: Mapping[str, str | None] | None = None,
) -> None:
    """Show on the job how far it has to go, and on what it and this attempt compute.

    Args:
        session: the transaction.
        attempt: locked.
        num_steps: of the whole run.
        num_parameters: of the model.
        device: name, torch and cuda; None where the trainer does not say.
    """
    job = await jobs.find(session, attempt.job_id, lock=True)
    job.num_steps, job.num_parameters = num_steps, num_parameters
    job.device = attempt.device = dict(device) if device else None


def json_number(value: float) -> float | str:
    """Return the value, or its name where JSON has no number for it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


@dataclass(frozen=True, kw_only=True)
class Window:
    """Which steps are looked at, both ends included, and how many points of a series at most."""

    from_step: int
    to_step: int
    max_points: int


@dataclass(frozen=True)
class Chart:
    """Points of a series, by step."""

    steps: list[int]
    values: list[float]


@dataclass(frozen=True)
class _Series:
    id: int
    name: str
    first_step: int  # within the window, as all that follows
    last_step: int
    num_points: int  # counted up to one more than are wanted


async def read_charts(
    session: AsyncSession, job_id: str, window: Window, *, names: Sequence[str] = ()
) -> dict[str, Chart]:
    """Return charts of the job's metrics by name; no names means all.

    A series with more points than are wanted is cut into buckets of steps. Of each bucket the
    extremes are kept, so that no spike is hidden, and of the series its first and last point.
    """
    all_series = await _find_chart_series(session, job_id, window, names)
    short = [series.id for series in all_series if series.num_points <= window.max_points]
    query = _points(and_(Metric.series_id.in_(short), _steps_of(window)))
    charts = await _read_charts(session, query.order_by(Metric.series_id, Metric.step))
    for series in all_series:
        if series.num_points > window.max_points:
            charts[series.id] = await _cut(session, series, window.max_points)
    return {series.name: charts[series.id] for series in all_series}


async def _find_chart_series(
    session: AsyncSession, job_id: str, window: Window, names: Sequence[str]
) -> list[_Series]:
    """Return the series that have points in the window, by name."""
    within = and_(Metric.series_id == MetricSeries.id, _steps_of(window))
    some = select(Metric.step).where(within).limit(window.max_points + 1).correlate(MetricSeries)
    query = select(
        MetricSeries.id,
        MetricSeries.name,
        select(func.min(Metric.step)).where(within).scalar_subquery(),
        select(func.max(Metric.step)).where(within).scalar_subquery(),
        select(func.count()).select_from(some.subquery()).scalar_subquery(),
    ).where(MetricSeries.job_id == job_id)
    if names:
        query = query.where(MetricSeries.name.in_(names))
    rows = await session.execute(query.order_by(MetricSeries.name))
    return [_Series(*row) for row in rows if row[-1] > 0]


async def _cut(session: AsyncSession, series: _Series, max_points: int) -> Chart:
    """Return the extremes of as many buckets as there is room for, beside the two ends."""
    for num_extremes in (FINITE_EXTREMES, ALL_EXTREMES):
        num_buckets = (max_points - 2) // num_extremes
        chart = (await _read_charts(session, _cut_into(num_buckets, series)))[series.id]
        if len(chart.steps) <= max_points:
            break
    return chart


def _cut_into(num_buckets: int, series: _Series) -> Select[Any]:
    num_blocks = series.last_step // BLOCK_STEPS - series.first_step // BLOCK_STEPS + 1
    # A bucket is a number of whole blocks, or so short that its points are few.
    if num_blocks > num_buckets:
        points, unit_steps = _from_blocks(series).subquery(), BLOCK_STEPS
    else:
        points, unit_steps = _points(_in_window(series)).subquery(), 1
    first_unit = series.first_step // unit_steps
    num_units = series.last_step // unit_steps - first_unit + 1
    units_per_bucket = -(-num_units // num_buckets)
    bucket = (points.c.step // unit_steps - first_unit) // units_per_bucket
    bucket_extremes = extremes(select(*points.c, bucket.label("bucket")).cte("points")).subquery()
    ends = Metric.step.in_((series.first_step, series.last_step))
    union_of_points = union(
        select(bucket_extremes.c.series_id, bucket_extremes.c.step, bucket_extremes.c.value),
        _points(and_(Metric.series_id == series.id, ends)),
    ).subquery()
    return select(*union_of_points.c).order_by(union_of_points.c.step)


def _from_blocks(series: _Series) -> CompoundSelect[Any]:
    """Return the extremes of the blocks in a window, and the points at its ends beside them."""
    first_block = -(-series.first_step // BLOCK_STEPS)
    end_block = (series.last_step + 1) // BLOCK_STEPS
    both = func.unnest(MetricBlock.steps, MetricBlock.values)
    point = both.table_valued("step", "value").render_derived()
    within = (
        select(MetricBlock.series_id, cast(point.c.step, BigInteger), point.c.value)
        .join_from(MetricBlock, point, true())
        .where(
            MetricBlock.series_id == series.id,
            MetricBlock.block >= first_block,
            MetricBlock.block < end_block,
        )
    )
    before = Metric.step < first_block * BLOCK_STEPS
    after = Metric.step > end_block * BLOCK_STEPS - 1
    in_window = _in_window(series)
    return union_all(within, _points(and_(in_window, before)), _points(and_(in_window, after)))


def _steps_of(window: Window) -> ColumnElement[bool]:
    return Metric.step.between(window.from_step, window.to_step)


def _in_window(series: _Series) -> ColumnElement[bool]:
    within = Metric.step.between(series.first_step, series.last_step)
    return and_(Metric.series_id == series.id, within)


def _points(condition: ColumnElement[bool]) -> Select[int, int, float]:
    return select(Metric.series_id, Metric.step, Metric.value).where(condition)


async def _read_charts(session: AsyncSession, query: Executable) -> dict[int, Chart]:
    """Return the charts of points that come in the order of their steps, by id of the series."""
    charts: dict[int, Chart] = defaultdict(lambda: Chart([], []))
    for series_id, step, value in await session.execute(query):
        charts[series_id].steps.append(step)
        charts[series_id].values.append(value)
    return charts
