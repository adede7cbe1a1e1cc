"""`nvae jobs`, `show`, `logs`, `events`, `metrics`, `pause`, `resume`, `cancel`, `fork`."""

import math
from datetime import datetime
from itertools import islice
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from nvae_client.cli import options
from nvae_client.cli.job_tables import headline, job_page, jobs_table
from nvae_client.cli.options import build_spec, parse_fields
from nvae_client.cli.output import plain_table, show_moment, show_number, show_value, sparkline
from nvae_client.cli.progress import detaching, submitted
from nvae_client.cli.session import Session, connected
from nvae_client.job import Job, LogChoice
from nvae_client.models import Columns, Event

Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")]


def jobs(
    context: options.Context,
    *,
    status: Annotated[str | None, typer.Option(help="queued, running, failed, …")] = None,
    kind: Annotated[str | None, typer.Option(help="train, evaluate, sample, …")] = None,
    preset: Annotated[str | None, typer.Option("--preset", "-p")] = None,
    tag: Annotated[str | None, typer.Option(metavar="KEY:VALUE")] = None,
    parent: Annotated[str | None, typer.Option(metavar="JOB", help="Forks of this job.")] = None,
    name: Annotated[str | None, typer.Option("--name", "-n")] = None,
    created_after: Annotated[datetime | None, typer.Option()] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    as_json: options.AsJson = False,
) -> None:
    """List jobs, newest first."""
    with connected(context, as_json) as session:
        page = session.client.jobs.list(
            status=status,
            kind=kind,
            preset=preset,
            tag=tag,
            parent=parent,
            name=name,
            created_after=created_after.astimezone() if created_after else None,
            page_size=min(limit, 200),
        )
        listed = [*islice(page, limit)]
        session.terminal.result(listed, jobs_table(listed, width=session.terminal.out.width))
        if not listed:
            session.terminal.note("no jobs; nvae train submits one")
        elif len(listed) == limit:
            session.terminal.note(f"the newest {limit}; more with --limit")


def show(context: options.Context, job: options.JobId, as_json: options.AsJson = False) -> None:
    """Show everything about a job: where it is, why, its numbers, checkpoints and files."""
    with connected(context, as_json) as session:
        current = session.client.jobs.get(job)
        checkpoints, artifacts = current.checkpoints(), current.artifacts()
        content = current.model_dump(mode="json")
        content |= {"checkpoints": checkpoints, "artifacts": artifacts}
        session.terminal.result(content, job_page(current, checkpoints, artifacts))


def logs(
    context: options.Context,
    *,
    job: options.JobId,
    follow: Follow = False,
    rank: Annotated[int, typer.Option(min=0, help="Which process of the training.")] = 0,
    attempt: Annotated[int | None, typer.Option(min=1, help="The newest if not given.")] = None,
    tail: Annotated[int, typer.Option(min=0, help="How many of the last lines.")] = 200,
    as_json: options.AsJson = False,
) -> None:
    """Print what a job has logged."""
    choice = LogChoice(rank=rank, tail=tail)
    if attempt is not None:
        choice["attempt"] = attempt
    with connected(context, as_json) as session:
        current = session.client.jobs.get(job)
        with detaching(session, current):
            _print_log(session, current, choice, follow=follow)


def events(
    context: options.Context,
    *,
    job: options.JobId,
    follow: Follow = False,
    as_json: options.AsJson = False,
) -> None:
    """Print what happened to a job."""
    with connected(context, as_json) as session:
        current = session.client.jobs.get(job)
        with detaching(session, current):
            for event in current.events(follow=follow):
                if as_json:
                    session.terminal.json(event)
                else:
                    session.terminal.out.print(_event_line(event), soft_wrap=True)


def _print_log(session: Session, job: Job, choice: LogChoice, *, follow: bool) -> None:
    attempt: int | None = None
    at_start = True
    for piece in job.logs(follow=follow, **choice):
        if session.terminal.as_json:
            session.terminal.json(piece)
            continue
        if attempt not in {None, piece.attempt}:
            session.terminal.note(("" if at_start else "\n") + f"— attempt {piece.attempt} —")
        attempt = piece.attempt
        session.terminal.write(piece.text)
        at_start = piece.text.endswith("\n")
    if not at_start:
        session.terminal.line("")


def _event_line(event: Event) -> Text:
    return Text.assemble(
        (show_moment(event.at), "dim"), f"  {event.type:<12}  ", show_value(event.data)
    )


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
            _metrics_table(found, width=session.terminal.out.width),
        )
        if missing := [name for name in names or () if name not in found]:
            session.terminal.note(f"not reported: {', '.join(missing)}")
        elif not found:
            session.terminal.note("nothing has been reported yet")


def _metrics_table(found: dict[str, Columns], *, width: int) -> Table:
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


def pause(context: options.Context, job: options.JobId, as_json: options.AsJson = False) -> None:
    """Take a job off its nodes, after a checkpoint, until it is resumed."""
    with connected(context, as_json) as session:
        _tell(session, session.client.jobs.get(job).pause())


def resume(context: options.Context, job: options.JobId, as_json: options.AsJson = False) -> None:
    """Put a paused job back into the queue."""
    with connected(context, as_json) as session:
        _tell(session, session.client.jobs.get(job).resume())


def cancel(
    context: options.Context,
    *,
    job: options.JobId,
    force: Annotated[
        bool, typer.Option("--force", help="Kill it: what no checkpoint holds is lost.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Cancel a job: at once if it is not running, else after a checkpoint at the next step."""
    with connected(context, as_json) as session:
        _tell(session, session.client.jobs.get(job).cancel(force=force))


def fork(
    context: options.Context,
    *,
    job: options.JobId,
    override: options.Overrides = None,
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", metavar="CKPT", help="The newest if not given.")
    ] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", "-d")] = None,
    name: options.Name = None,
    tag: options.Tags = None,
    priority: options.Priority = None,
    nodes: options.Nodes = None,
    slots: options.Slots = None,
    seed: options.Seed = None,
    follow: options.Follow = False,
    as_json: options.AsJson = False,
) -> None:
    """Train a new job from a checkpoint of this one, with other overrides. Prints its id."""
    changes = build_spec(
        {
            "checkpoint": checkpoint,
            "overrides": parse_fields(override, "--override"),
            "dataset": dataset,
            "name": name,
            "priority": priority,
            "seed": seed,
        },
        tags=tag,
        resources={"nodes": nodes, "slots": slots},
    )
    with connected(context, as_json) as session:
        forked = session.client.jobs.get(job).fork(**changes)
        submitted(session, forked, follow=follow)


def _tell(session: Session, job: Job) -> None:
    session.terminal.result(job, headline(job))
