"""`nvae metrics`."""

import math
from typing import Annotated

import typer
from rich.table import Table

from nvae_client.cli import options
from nvae_client.cli.connecting import connected
from nvae_client.cli.showing.amounts import show_number
from nvae_client.cli.showing.sparklines import sparkline
from nvae_client.cli.showing.tables import plain_table
from nvae_client.metrics import Columns


def metrics(
    context: options.Context,
    *,
    job: options.JobId,
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="All if none.")] = None,
    from_step: Annotated[int | None, typer.Option(min=0)] = None,
    to_step: Annotated[int | None, typer.Option(min=0)] = None,
    max_points: Annotated[
        int | None, typer.Option(min=10, help="Of each metric; a longer one keeps its extremes.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Show a job's metrics; with --json every step and value, column by column."""
    with connected(context, as_json) as session:
        found = session.client.jobs.get(job).metrics(
            names=names or (), from_step=from_step, to_step=to_step, max_points=max_points
        )
        session.terminal.result(
            {name: _strict(columns) for name, columns in found.items()},
            _table(found, width=session.terminal.out.width),
        )
        if missing := [name for name in names or () if name not in found]:
            session.terminal.note(f"not reported: {', '.join(missing)}")
        elif not found:
            session.terminal.note("nothing has been reported yet")


def _table(found: dict[str, Columns], *, width: int) -> Table:
    longest = max((len(name) for name in found), default=6)
    spark = max(8, min(60, width - longest - 50))
    table = plain_table(
        *("metric", "step", "last", "lowest", "highest", "curve"),
        right=["step", "last", "lowest", "highest"],
    )
    for name, columns in found.items():
        values = columns["value"]
        finite = [value for value in values if math.isfinite(value)] or [math.nan]
        table.add_row(
            name,
            str(columns["step"][-1]),
            show_number(values[-1]),
            show_number(min(finite)),
            show_number(max(finite)),
            sparkline(values, spark),
        )
    return table


def _strict(columns: Columns) -> dict[str, list[int] | list[float | str]]:
    """Return columns that JSON has words for: what is not finite as text, as the service does."""
    words = {math.inf: "Infinity", -math.inf: "-Infinity"}
    values: list[float | str] = [
        value if math.isfinite(value) else words.get(value, "NaN") for value in columns["value"]
    ]
    return {"step": columns["step"], "value": values}
