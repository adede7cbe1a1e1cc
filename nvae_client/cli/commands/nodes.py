"""`nvae nodes …`."""

import difflib
from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from rich.table import Table

from nvae_client.answers import Node
from nvae_client.cli import options
from nvae_client.cli.connecting import connected
from nvae_client.cli.showing.amounts import show_bytes
from nvae_client.cli.showing.tables import cut, plain_table, show_value
from nvae_client.client import NvaeClient

app = typer.Typer(no_args_is_help=True, help="Look at the machines; close, open and empty them.")
NodeName = Annotated[str, typer.Argument(metavar="NODE", help="Name or id of a node.")]


@app.command("list")
def list_nodes(context: options.Context, as_json: options.AsJson = False) -> None:
    """List the nodes, and how many of their slots are free."""
    with connected(context, as_json) as session:
        found = session.client.nodes.list()
        session.terminal.result(found, _table(found))


@app.command()
def cordon(context: options.Context, node: NodeName, as_json: options.AsJson = False) -> None:
    """Give a node no new jobs; those that it has go on."""
    _change(context, node, lambda client: client.nodes.cordon, as_json)


@app.command()
def uncordon(context: options.Context, node: NodeName, as_json: options.AsJson = False) -> None:
    """Give a node jobs again."""
    _change(context, node, lambda client: client.nodes.uncordon, as_json)


@app.command()
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
        known = session.client.nodes.list()
        node_id = next((one.id for one in known if one.name == name_or_id), name_or_id)
        near = difflib.get_close_matches(name_or_id, [one.name for one in known], cutoff=0.5)
        session.hints.append(f"The nearest node: {', '.join(near)}" if near else "nvae nodes list")
        found = verb(session.client)(node_id)
        session.terminal.result(found, _table([found]))


def _table(nodes: Sequence[Node]) -> Table:
    table = plain_table(
        *("name", "state", "free", "slots", "memory", "address", "labels"),
        right=["free", "slots", "memory"],
        flexible="labels",
    )
    for node in nodes:
        slots = f"{node.num_slots} {node.slot_kind}"
        free, memory = str(node.num_free_slots), show_bytes(node.memory_bytes)
        labels = cut(show_value(node.labels))
        table.add_row(node.name, _state(node), free, slots, memory, node.address, labels)
    return table


def _state(node: Node) -> str:
    if not node.alive:
        return "[red]away[/]"
    if not node.usable:
        return "[red]other version[/]"
    return "[yellow]cordoned[/]" if node.cordoned else "[green]up[/]"
