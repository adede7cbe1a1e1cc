"""`nvae presets`."""

import difflib
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from nvae_client.answers import Preset
from nvae_client.cli import exits, options
from nvae_client.cli.connecting import connected
from nvae_client.cli.showing.tables import pairs_table, plain_table


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
        known = session.client.presets.list()
        if name is None:
            session.terminal.result(known, _table(known))
            return
        found = next((preset for preset in known if preset.name == name), None)
        if found is not None:
            session.terminal.result(found, _page(found))
            return
        names = [preset.name for preset in known]
        near = ", ".join(difflib.get_close_matches(name, names, cutoff=0.5))
        session.terminal.err.print(f"[red]error:[/red] there is no preset {name!r}")
        session.terminal.note(f"  The nearest: {near}" if near else "  All of them: nvae presets")
        exits.leave(exits.REFUSED)


def _table(presets: Sequence[Preset]) -> Table:
    table = plain_table("preset", "images", "description", right=["images"])
    table.columns[-1].no_wrap = False
    for preset in presets:
        model = preset.model
        images = f"{model.get('image_size')}×{model.get('num_colors')}"
        table.add_row(preset.name, images, preset.description)
    return table


def _page(preset: Preset) -> RenderableType:
    model = {f"model.{name}": value for name, value in preset.model.items()}
    optimization = {f"optimization.{name}": value for name, value in preset.optimization.items()}
    return Group(f"{preset.name}: {preset.description}", "", pairs_table(model | optimization))
