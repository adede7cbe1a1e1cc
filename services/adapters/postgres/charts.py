"""Metrics as they are looked at: every point of a short series, the extremes of a long one."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Executable,
    Select,
    and_,
    cast,
    func,
    select,
    true,
    union,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession

from services.adapters.postgres.metrics import BLOCK_STEPS, extremes
from services.adapters.postgres.tables import Metric, MetricBlock, MetricSeries

MIN_POINTS = 10  # the first one, the last one, and what one bucket can have
FINITE_EXTREMES = 2  # of one bucket
ALL_EXTREMES = 5  # with NaN and both infinities


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
    found = await _find_series(session, job_id, window, names)
    short = [series.id for series in found if series.num_points <= window.max_points]
    query = _points(and_(Metric.series_id.in_(short), _steps_of(window)))
    charts = await _read(session, query.order_by(Metric.series_id, Metric.step))
    for series in found:
        if series.num_points > window.max_points:
            charts[series.id] = await _cut(session, series, window.max_points)
    return {series.name: charts[series.id] for series in found}


async def _find_series(
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
        chart = (await _read(session, _cut_into(num_buckets, series)))[series.id]
        if len(chart.steps) <= max_points:
            break
    return chart


def _cut_into(num_buckets: int, series: _Series) -> Select[Any]:
    num_blocks = series.last_step // BLOCK_STEPS - series.first_step // BLOCK_STEPS + 1
    # A bucket is a number of whole blocks, or so short that its points are few.
    if num_blocks > num_buckets:
        given, unit_steps = _from_blocks(series).subquery(), BLOCK_STEPS
    else:
        given, unit_steps = _points(_in_window(series)).subquery(), 1
    first_unit = series.first_step // unit_steps
    num_units = series.last_step // unit_steps - first_unit + 1
    units_per_bucket = -(-num_units // num_buckets)
    bucket = (given.c.step // unit_steps - first_unit) // units_per_bucket
    found = extremes(select(*given.c, bucket.label("bucket")).cte("points")).subquery()
    ends = Metric.step.in_((series.first_step, series.last_step))
    kept = union(
        select(found.c.series_id, found.c.step, found.c.value),
        _points(and_(Metric.series_id == series.id, ends)),
    ).subquery()
    return select(*kept.c).order_by(kept.c.step)


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


async def _read(session: AsyncSession, query: Executable) -> dict[int, Chart]:
    """Return the charts of points that come in the order of their steps, by id of the series."""
    charts: dict[int, Chart] = defaultdict(lambda: Chart([], []))
    for series_id, step, value in await session.execute(query):
        charts[series_id].steps.append(step)
        charts[series_id].values.append(value)
    return charts
