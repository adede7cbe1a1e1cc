"""`NAME=VALUE` on the command line: overrides, fields, tags."""

import json
from collections.abc import Iterable
from typing import Any

import typer


def parse_fields(given: Iterable[str] | None, option: str) -> dict[str, Any]:
    """Return names and values; a value that is JSON is read as such, any other is a text.

    Raises:
        typer.BadParameter: one is no assignment, or a name comes twice.
    """
    found: dict[str, Any] = {}
    for text in given or ():
        name, value = _split(text, option)
        if name in found:
            raise typer.BadParameter(f"{name} is given twice", param_hint=option)
        found[name] = _value(value)
    return found


def parse_texts(given: Iterable[str] | None, option: str) -> dict[str, str]:
    """Return names and values that stay texts."""
    return dict(_split(text, option) for text in given or ())


def set_fields(spec: dict[str, Any], given: Iterable[str] | None, option: str) -> dict[str, Any]:
    """Return the spec with fields set by dotted name, such as `checkpoint.every_steps=100`."""
    for name, value in parse_fields(given, option).items():
        *path, last = name.split(".")
        place = spec
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise typer.BadParameter(f"{part} in {name} has no fields", param_hint=option)
        place[last] = value
    return spec


def _split(text: str, option: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        message = f"{text!r} is not NAME=VALUE, such as optimization.epochs=200"
        raise typer.BadParameter(message, param_hint=option)
    return name.strip(), value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
