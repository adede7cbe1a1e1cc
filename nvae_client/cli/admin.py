"""`nvae nodes …`, `keys …` and `presets`."""

import difflib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from nvae_client.cli import options
from nvae_client.cli.options import confirm
from nvae_client.cli.output import (
    cut,
    pairs_table,
    plain_table,
    show_age,
    show_bytes,
    show_moment,
    show_value,
)
from nvae_client.cli.session import FAILED, REFUSED, connected, leave
from nvae_client.client import NvaeClient
from nvae_client.models import ApiKey, Node, Preset

nodes_app = typer.Typer(
    no_args_is_help=True, help="Look at the machines; close, open and empty them."
)
keys_app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")

NodeName = Annotated[str, typer.Argument(metavar="NODE", help="Name or id of a node.")]
WIDE = 110


@nodes_app.command("list")
def list_nodes(context: options.Context, as_json: options.AsJson = False) -> None:
    """List the nodes, and how many of their slots are free."""
    with connected(context, as_json) as session:
        nodes = session.client.nodes.list()
        session.terminal.result(nodes, _nodes_table(nodes))


@nodes_app.command()
def cordon(context: options.Context, node: NodeName, as_json: options.AsJson = False) -> None:
    """Give a node no new jobs; those that it has go on."""
    _change(context, node, lambda client: client.nodes.cordon, as_json)


@nodes_app.command()
def uncordon(context: options.Context, node: NodeName, as_json: options.AsJson = False) -> None:
    """Give a node jobs again."""
    _change(context, node, lambda client: client.nodes.uncordon, as_json)


@nodes_app.command()
def drain(context: options.Context, node: NodeName, as_json: options.AsJson = False) -> None:
    """Cordon a node and move its jobs, each after a checkpoint."""
    _change(context, node, lambda client: client.nodes.drain, as_json)


def _change(
    context: options.Context,
    name_or_id: str,
    verb: Callable[[NvaeClient], Callable[[str], Node]],
    as_json: bool,
) -> None:
    with connected(context, as_json) as session:
        nodes = session.client.nodes.list()
        node_id = next((one.id for one in nodes if one.name == name_or_id), name_or_id)
        near = difflib.get_close_matches(name_or_id, [one.name for one in nodes], cutoff=0.5)
        session.hints.append(f"The nearest node: {', '.join(near)}" if near else "nvae nodes list")
        node = verb(session.client)(node_id)
        session.terminal.result(node, _nodes_table([node]))


def _nodes_table(nodes: Sequence[Node]) -> Table:
    table = plain_table(
        *("name", "state", "free", "slots", "memory", "address", "labels"),
        right=["free", "slots", "memory"],
        flexible="labels",
    )
    for node in nodes:
        slots = f"{node.num_slots} {node.slot_kind}"
        free, memory = str(node.num_free_slots), show_bytes(node.memory_bytes)
        labels = cut(show_value(node.labels))
        table.add_row(node.name, _node_state(node), free, slots, memory, node.address, labels)
    return table


def _node_state(node: Node) -> str:
    if not node.alive:
        return "[red]away[/]"
    if not node.usable:
        return "[red]other version[/]"
    return "[yellow]cordoned[/]" if node.cordoned else "[green]up[/]"


@keys_app.command()
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
            raise typer.Exit(FAILED)
        session.terminal.line(made.key)
        scopes = ", ".join(made.scopes)
        session.terminal.note(f"key {made.id} ({scopes}); it is not shown again")


@keys_app.command("list")
def list_keys(context: options.Context, as_json: options.AsJson = False) -> None:
    """List the keys, without what opens anything."""
    with connected(context, as_json) as session:
        keys = session.client.keys.list()
        session.terminal.result(keys, _keys_table(keys, width=session.terminal.out.width))


@keys_app.command()
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
        revoked = session.client.keys.revoke(key)
        session.terminal.result(revoked, _keys_table([revoked], width=session.terminal.out.width))


def _keys_table(keys: Sequence[ApiKey], *, width: int) -> Table:
    is_wide = width >= WIDE
    wide = ("project", "used") if is_wide else ()
    table = plain_table("id", "scopes", "state", *wide, "name", flexible="name")
    for key in keys:
        more = (escape(key.project or ""), show_age(key.last_used_at) or "never")
        scopes = ",".join(key.scopes)
        table.add_row(key.id, scopes, _key_state(key), *(more if is_wide else ()), cut(key.name))
    return table


def _key_state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "[red]revoked[/]"
    if key.expires_at is None:
        return "[green]good[/]"
    if key.expires_at <= datetime.now(UTC):
        return "[red]expired[/]"
    return f"until {show_moment(key.expires_at)[:10]}"


def presets(
    context: options.Context,
    *,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One, with every field.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """List the presets, or show one with the fields that -o can override."""
    with connected(context, as_json) as session:
        all_presets = session.client.presets.list()
        if name is None:
            session.terminal.result(all_presets, _presets_table(all_presets))
            return
        found = next((preset for preset in all_presets if preset.name == name), None)
        if found is not None:
            session.terminal.result(found, _preset_page(found))
            return
        names = [preset.name for preset in all_presets]
        near = ", ".join(difflib.get_close_matches(name, names, cutoff=0.5))
        session.terminal.err.print(f"[red]error:[/red] there is no preset {name!r}")
        session.terminal.note(f"  The nearest: {near}" if near else "  All of them: nvae presets")
        leave(REFUSED)


def _presets_table(presets: Sequence[Preset]) -> Table:
    table = plain_table("preset", "images", "description", right=["images"])
    table.columns[-1].no_wrap = False
    for preset in presets:
        model = preset.model
        images = f"{model.get('image_size')}×{model.get('num_colors')}"
        table.add_row(preset.name, images, preset.description)
    return table


def _preset_page(preset: Preset) -> RenderableType:
    model = {f"model.{name}": value for name, value in preset.model.items()}
    optimization = {f"optimization.{name}": value for name, value in preset.optimization.items()}
    return Group(f"{preset.name}: {preset.description}", "", pairs_table(model | optimization))
