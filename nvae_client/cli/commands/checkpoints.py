"""`nvae checkpoints …`."""

from pathlib import Path
from typing import Annotated

import typer

from nvae_client.cli import options
from nvae_client.cli.confirming import confirm
from nvae_client.cli.connecting import connected
from nvae_client.cli.following import submitted
from nvae_client.cli.saving import save_checkpoint
from nvae_client.cli.showing.job_page import checkpoints_table

app = typer.Typer(no_args_is_help=True, help="List, download, keep, delete and import checkpoints.")


@app.command("list")
def list_checkpoints(
    context: options.Context,
    *,
    job: options.JobId,
    status: Annotated[
        str | None, typer.Option(help="Others than those that can be used: superseded, deleted, …")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """List the checkpoints of a job, oldest first."""
    with connected(context, as_json) as session:
        found = session.client.jobs.get(job).checkpoints(status=status)
        session.terminal.result(found, checkpoints_table(found))


@app.command()
def download(
    context: options.Context,
    *,
    checkpoint: options.CheckpointId,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder; named by the id if not given.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on where a download was cut off.")
    ] = True,
    as_json: options.AsJson = False,
) -> None:
    """Download a checkpoint, checking every file. Prints the folder."""
    with connected(context, as_json) as session:
        found = session.client.checkpoints.get(checkpoint)
        folder = save_checkpoint(session, found, output or Path(found.id), resume=resume)
        content = {"checkpoint": found.id, "folder": str(folder)}
        session.terminal.result(content, str(folder))


@app.command()
def pin(
    context: options.Context, checkpoint: options.CheckpointId, as_json: options.AsJson = False
) -> None:
    """Keep a checkpoint, whatever the job's policy says."""
    with connected(context, as_json) as session:
        found = session.client.checkpoints.get(checkpoint).pin()
        session.terminal.result(found, checkpoints_table([found]))


@app.command()
def unpin(
    context: options.Context, checkpoint: options.CheckpointId, as_json: options.AsJson = False
) -> None:
    """Leave a checkpoint to the job's policy again."""
    with connected(context, as_json) as session:
        found = session.client.checkpoints.get(checkpoint).unpin()
        session.terminal.result(found, checkpoints_table([found]))


@app.command()
def delete(
    context: options.Context,
    *,
    checkpoint: options.CheckpointId,
    yes: options.Yes = False,
    as_json: options.AsJson = False,
) -> None:
    """Delete a checkpoint and its files, for good."""
    confirm(f"Delete checkpoint {checkpoint}?", yes=yes)
    with connected(context, as_json) as session:
        found = session.client.checkpoints.get(checkpoint).delete()
        session.terminal.result(found, checkpoints_table([found]))


@app.command("import")
def import_checkpoint(
    context: options.Context,
    *,
    path: Annotated[str, typer.Argument(metavar="PATH", help="Where the nodes can read it.")],
    kind: Annotated[
        str, typer.Option("--kind", help="published: of the published NVAE code; or folder.")
    ] = "published",
    name: Annotated[str | None, typer.Option("--name", help="Of the job.")] = None,
    follow: options.Follow = False,
    as_json: options.AsJson = False,
) -> None:
    """Import a checkpoint from elsewhere. Prints the job that does it."""
    with connected(context, as_json) as session:
        job = session.client.checkpoints.import_from(kind, path, name=name)
        submitted(session, job, follow=follow)
