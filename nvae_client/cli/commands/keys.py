"""`nvae keys …`."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from nvae_client.answers import ApiKey
from nvae_client.cli import exits, options
from nvae_client.cli.confirming import confirm
from nvae_client.cli.connecting import connected
from nvae_client.cli.showing.amounts import show_age, show_moment
from nvae_client.cli.showing.tables import cut, plain_table

WIDE = 110

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")


@app.command()
def create(
    context: options.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who or what it is for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="read, submit (if none is given) or admin. Can be repeated."),
    ] = None,
    project: Annotated[str | None, typer.Option(help="Whose jobs it sees.")] = None,
    days: Annotated[
        float | None, typer.Option("--expires-in-days", min=0.01, help="Never if not given.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Create a key. It is printed once, and stored nowhere."""
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with connected(context, as_json) as session:
        made = session.client.keys.create(
            name, scopes=scope or ["submit"], project=project, expires_at=expires_at
        )
        if as_json:
            session.terminal.json(made)
            return
        if made.key is None:  # the answer that had it was lost with the connection
            session.terminal.note(f"key {made.id} was made and its answer lost; create another:")
            session.terminal.note(f"  nvae keys revoke --yes {made.id}")
            raise typer.Exit(exits.FAILED)
        session.terminal.line(made.key)
        scopes = ", ".join(made.scopes)
        session.terminal.note(f"key {made.id} ({scopes}); it is not shown again")


@app.command("list")
def list_keys(context: options.Context, as_json: options.AsJson = False) -> None:
    """List the keys, without what opens anything."""
    with connected(context, as_json) as session:
        found = session.client.keys.list()
        session.terminal.result(found, _table(found, width=session.terminal.out.width))


@app.command()
def revoke(
    context: options.Context,
    *,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Id of a key: key_…")],
    yes: options.Yes = False,
    as_json: options.AsJson = False,
) -> None:
    """Make a key useless, for good."""
    confirm(f"Revoke key {key}?", yes=yes)
    with connected(context, as_json) as session:
        found = session.client.keys.revoke(key)
        session.terminal.result(found, _table([found], width=session.terminal.out.width))


def _table(keys: Sequence[ApiKey], *, width: int) -> Table:
    is_wide = width >= WIDE
    wide = ("project", "used") if is_wide else ()
    table = plain_table("id", "scopes", "state", *wide, "name", flexible="name")
    for key in keys:
        more = (escape(key.project or ""), show_age(key.last_used_at) or "never")
        scopes = ",".join(key.scopes)
        table.add_row(key.id, scopes, _state(key), *(more if is_wide else ()), cut(key.name))
    return table


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "[red]revoked[/]"
    if key.expires_at is None:
        return "[green]good[/]"
    if key.expires_at <= datetime.now(UTC):
        return "[red]expired[/]"
    return f"until {show_moment(key.expires_at)[:10]}"
