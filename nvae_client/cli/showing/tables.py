"""Lists of things as tables that fit 80 columns."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from nvae_client.cli.showing.amounts import show_number


def plain_table(*columns: str, right: Iterable[str] = (), flexible: str | None = None) -> Table:
    """Return an empty table without lines.

    Args:
        columns: their names.
        right: those whose content is numbers.
        flexible: the one that gives way when the terminal is narrow; its cells are `cut`.
    """
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    numbers = {*right}
    for name in columns:
        table.add_column(
            name.upper(),
            justify="right" if name in numbers else "left",
            no_wrap=name != flexible,  # those that may wrap are narrowed first
        )
    return table


def cut(text: str) -> Text:
    """Return what a flexible column holds: one line, cut where the column ends."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def pairs_table(pairs: Mapping[str, Any]) -> Table:
    """Return names and values below one another, without those that are empty."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs.items():
        if value not in (None, "", {}, [], ()):
            table.add_row(name, value if isinstance(value, str) else escape(show_value(value)))
    return table


def show_value(value: Any) -> str:
    """Return any JSON on one line, what is inside something else by dotted name."""
    if isinstance(value, dict):
        flat = _flatten(value)
        return "  ".join(f"{name}={show_value(item)}" for name, item in flat if item is not None)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(show_value(item) for item in value) + "]"
    return show_number(value)


def _flatten(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, dict) and value:
            yield from ((f"{name}.{inner}", item) for inner, item in _flatten(value))
        else:
            yield name, value
