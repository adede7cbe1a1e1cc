"""`nvae jobs` and `nvae show`."""

from datetime import datetime
from itertools import islice
from typing import Annotated

import typer

from nvae_client.cli import options
from nvae_client.cli.connecting import connected
from nvae_client.cli.showing.job_page import job_page, jobs_table


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
        found = session.client.jobs.list(
            status=status,
            kind=kind,
            preset=preset,
            tag=tag,
            parent=parent,
            name=name,
            created_after=created_after.astimezone() if created_after else None,
            page_size=min(limit, 200),
        )
        listed = [*islice(found, limit)]
        session.terminal.result(listed, jobs_table(listed, width=session.terminal.out.width))
        if not listed:
            session.terminal.note("no jobs; nvae train submits one")
        elif len(listed) == limit:
            session.terminal.note(f"the newest {limit}; more with --limit")


def show(context: options.Context, job: options.JobId, as_json: options.AsJson = False) -> None:
    """Show everything about a job: where it is, why, its numbers, checkpoints and files."""
    with connected(context, as_json) as session:
        found = session.client.jobs.get(job)
        checkpoints, artifacts = found.checkpoints(), found.artifacts()
        content = found.model_dump(mode="json")
        content |= {"checkpoints": checkpoints, "artifacts": artifacts}
        session.terminal.result(content, job_page(found, checkpoints, artifacts))
