"""`nvae pause`, `resume`, `cancel`, `fork`."""

from typing import Annotated

import typer

from nvae_client.cli import options
from nvae_client.cli.assignments import parse_fields
from nvae_client.cli.connecting import Session, connected
from nvae_client.cli.following import submitted
from nvae_client.cli.showing.progress import headline
from nvae_client.cli.specs import build_spec
from nvae_client.job import Job


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
