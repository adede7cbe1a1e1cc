"""`nvae datasets …`."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from nvae_client.answers import Dataset
from nvae_client.cli import options
from nvae_client.cli.assignments import parse_fields
from nvae_client.cli.confirming import confirm
from nvae_client.cli.connecting import connected
from nvae_client.cli.following import submitted
from nvae_client.cli.showing.amounts import show_age, show_count, show_moment
from nvae_client.cli.showing.tables import cut, pairs_table, plain_table

app = typer.Typer(no_args_is_help=True, help="Register, list, show and delete data sets.")
NameOrId = Annotated[str, typer.Argument(metavar="NAME", help="Name or id of a data set.")]


@app.command()
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


@app.command("list")
def list_datasets(context: options.Context, as_json: options.AsJson = False) -> None:
    """List the data sets, newest first."""
    with connected(context, as_json) as session:
        found = session.client.datasets.list()
        session.terminal.result(found, _table(found))
        if not found:
            session.terminal.note("no data sets; nvae datasets add digits bundled name=mnist_5k")


@app.command()
def show(context: options.Context, name: NameOrId, as_json: options.AsJson = False) -> None:
    """Show a data set: its source, its images, whether it is ready."""
    with connected(context, as_json) as session:
        found = session.client.datasets.get(name)
        description = found.description or {}
        pairs = {
            "data set": found.id,
            "name": found.name,
            "status": found.status,
            "message": escape(found.message or ""),
            "source": found.source,
            "images": _images(found),
            "splits": {
                split: content.get("num_images")
                for split, content in description.get("splits", {}).items()
            },
            "content hash": found.content_hash,
            "created": show_moment(found.created_at),
        }
        session.terminal.result(found, pairs_table(pairs))


@app.command()
def delete(
    context: options.Context,
    *,
    name: NameOrId,
    yes: options.Yes = False,
    as_json: options.AsJson = False,
) -> None:
    """Delete a data set and its files, for good."""
    confirm(f"Delete data set {name}?", yes=yes)
    with connected(context, as_json) as session:
        found = session.client.datasets.delete(name)
        session.terminal.result(found, _table([found]))


def _table(datasets: Sequence[Dataset]) -> Table:
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
    found = dataset.description or {}
    if "height" not in found:
        return ""
    return f"{found['height']}×{found['width']}×{found.get('num_colors', '?')}"
