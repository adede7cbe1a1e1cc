"""`nvae checkpoints …` and `nvae datasets …`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from nvae_client.cli import options
from nvae_client.cli.job_tables import checkpoints_table
from nvae_client.cli.options import confirm, parse_fields
from nvae_client.cli.output import cut, pairs_table, plain_table, show_age, show_count, show_moment
from nvae_client.cli.progress import save_checkpoint, submitted
from nvae_client.cli.session import connected
from nvae_client.models import Dataset

checkpoints_app = typer.Typer(
    no_args_is_help=True, help="List, download, keep, delete and import checkpoints."
)
datasets_app = typer.Typer(no_args_is_help=True, help="Register, list, show and delete data sets.")

NameOrId = Annotated[str, typer.Argument(metavar="NAME", help="Name or id of a data set.")]


@checkpoints_app.command("list")
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
        checkpoints = session.client.jobs.get(job).checkpoints(status=status)
        session.terminal.result(checkpoints, checkpoints_table(checkpoints))


@checkpoints_app.command()
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
        stored = session.client.checkpoints.get(checkpoint)
        folder = save_checkpoint(session, stored, output or Path(stored.id), resume=resume)
        content = {"checkpoint": stored.id, "folder": str(folder)}
        session.terminal.result(content, str(folder))


@checkpoints_app.command()
def pin(
    context: options.Context, checkpoint: options.CheckpointId, as_json: options.AsJson = False
) -> None:
    """Keep a checkpoint, whatever the job's policy says."""
    with connected(context, as_json) as session:
        stored = session.client.checkpoints.get(checkpoint).pin()
        session.terminal.result(stored, checkpoints_table([stored]))


@checkpoints_app.command()
def unpin(
    context: options.Context, checkpoint: options.CheckpointId, as_json: options.AsJson = False
) -> None:
    """Leave a checkpoint to the job's policy again."""
    with connected(context, as_json) as session:
        stored = session.client.checkpoints.get(checkpoint).unpin()
        session.terminal.result(stored, checkpoints_table([stored]))


@checkpoints_app.command("delete")
def delete_checkpoint(
    context: options.Context,
    *,
    checkpoint: options.CheckpointId,
    yes: options.Yes = False,
    as_json: options.AsJson = False,
) -> None:
    """Delete a checkpoint and its files, for good."""
    confirm(f"Delete checkpoint {checkpoint}?", yes=yes)
    with connected(context, as_json) as session:
        stored = session.client.checkpoints.get(checkpoint).delete()
        session.terminal.result(stored, checkpoints_table([stored]))


@checkpoints_app.command("import")
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


@datasets_app.command()
def add(
    context: options.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What jobs call it.")],
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="bundled, folder, zip, mnist, cifar10, array, …")
    ],
    fields: Annotated[
        list[str] | None,
        typer.Argument(metavar="FIELD=VALUE", help="Of the source: path=faces image_size=64"),
    ] = None,
    seed: options.Seed = None,
    follow: options.Follow = False,
    as_json: options.AsJson = False,
) -> None:
    """Register a source of images; a job prepares it, and its id is printed.

    Examples: nvae datasets add digits bundled name=mnist_5k
    and nvae datasets add faces folder path=faces image_size=64
    """
    source = {"kind": kind, **parse_fields(fields, "FIELD=VALUE")}
    with connected(context, as_json) as session:
        registration = session.client.datasets.register(name, source, seed=seed)
        submitted(session, registration.job, follow=follow)


@datasets_app.command("list")
def list_datasets(context: options.Context, as_json: options.AsJson = False) -> None:
    """List the data sets, newest first."""
    with connected(context, as_json) as session:
        datasets = session.client.datasets.list()
        session.terminal.result(datasets, _datasets_table(datasets))
        if not datasets:
            session.terminal.note("no data sets; nvae datasets add digits bundled name=mnist_5k")


@datasets_app.command()
def show(context: options.Context, name: NameOrId, as_json: options.AsJson = False) -> None:
    """Show a data set: its source, its images, whether it is ready."""
    with connected(context, as_json) as session:
        dataset = session.client.datasets.get(name)
        description = dataset.description or {}
        pairs = {
            "data set": dataset.id,
            "name": dataset.name,
            "status": dataset.status,
            "message": escape(dataset.message or ""),
            "source": dataset.source,
            "images": _images(dataset),
            "splits": {
                split: content.get("num_images")
                for split, content in description.get("splits", {}).items()
            },
            "content hash": dataset.content_hash,
            "created": show_moment(dataset.created_at),
        }
        session.terminal.result(dataset, pairs_table(pairs))


@datasets_app.command("delete")
def delete_dataset(
    context: options.Context,
    *,
    name: NameOrId,
    yes: options.Yes = False,
    as_json: options.AsJson = False,
) -> None:
    """Delete a data set and its files, for good."""
    confirm(f"Delete data set {name}?", yes=yes)
    with connected(context, as_json) as session:
        dataset = session.client.datasets.delete(name)
        session.terminal.result(dataset, _datasets_table([dataset]))


def _datasets_table(datasets: Sequence[Dataset]) -> Table:
    table = plain_table(
        *("name", "status", "images", "count", "source", "age", "message"),
        right=["count"],
        flexible="message",
    )
    for one in datasets:
        splits = (one.description or {}).get("splits", {})
        table.add_row(
            escape(one.name),
            one.status,
            _images(one),
            show_count(sum(split["num_images"] for split in splits.values())) if splits else "",
            str(one.source.get("kind", "")),
            show_age(one.created_at),
            cut(one.message or ""),
        )
    return table


def _images(dataset: Dataset) -> str:
    description = dataset.description or {}
    if "height" not in description:
        return ""
    return f"{description['height']}×{description['width']}×{description.get('num_colors', '?')}"
