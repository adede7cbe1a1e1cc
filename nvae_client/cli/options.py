"""Arguments and options that several commands have, and specs of jobs made of them."""

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

Context = typer.Context
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on stdout.")
]
Follow = Annotated[
    bool,
    typer.Option("--follow", "-f", help="Wait for the end; Ctrl-C detaches, the job goes on."),
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job: job_…")]
CheckpointId = Annotated[str, typer.Argument(metavar="CKPT", help="Id of a checkpoint: ckpt_…")]
Dataset = Annotated[str, typer.Option("--dataset", "-d", help="Name or id of a data set.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--override",
        "-o",
        metavar="NAME=VALUE",
        help="Replace a field of the preset, as in -o optimization.epochs=200. Can be repeated.",
    ),
]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="NAME=VALUE",
        help="Set another field of the job: -s checkpoint.every_steps=100. Can be repeated.",
    ),
]
Name = Annotated[str | None, typer.Option("--name", "-n", help="Of the job, for people.")]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="KEY=VALUE", help="Tag the job. Can be repeated."),
]
Priority = Annotated[
    int | None,
    typer.Option("--priority", min=0, max=100, help="Higher comes first; 50 if not set."),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Of the random numbers.")]
Nodes = Annotated[int | None, typer.Option("--nodes", min=1, help="How many nodes it takes.")]
Slots = Annotated[
    int | None,
    typer.Option("--slots", min=1, help="GPUs, or shares of the cores, on each node."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def parse_fields(texts: Iterable[str] | None, option: str) -> dict[str, Any]:
    """Return names and values; a value that is JSON is read as such, any other is a text.

    Raises:
        typer.BadParameter: one is no assignment, or a name comes twice.
    """
    fields: dict[str, Any] = {}
    for text in texts or ():
        name, value = _split(text, option)
        if name in fields:
            raise typer.BadParameter(f"{name} is given twice", param_hint=option)
        fields[name] = _value(value)
    return fields


def parse_texts(texts: Iterable[str] | None, option: str) -> dict[str, str]:
    """Return names and values that stay texts."""
    return dict(_split(text, option) for text in texts or ())


def set_fields(spec: dict[str, Any], texts: Iterable[str] | None, option: str) -> dict[str, Any]:
    """Return the spec with fields set by dotted name, such as `checkpoint.every_steps=100`."""
    for name, value in parse_fields(texts, option).items():
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


def build_spec(
    given: Mapping[str, Any],
    *,
    tags: Iterable[str] | None = None,
    resources: Mapping[str, Any] | None = None,
    fields: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Return a spec of what was given.

    Args:
        given: fields; those that are None are left out.
        tags: `KEY=VALUE` each.
        resources: in the same way.
        fields: any others, `NAME=VALUE` each, with dots where one is inside another.
    """
    whole = {**given, "tags": parse_texts(tags, "--tag"), "resources": _present(resources or {})}
    present = {name: value for name, value in _present(whole).items() if value != {}}
    return set_fields(present, fields, "--set")


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless that was answered already.

    Raises:
        typer.BadParameter: nobody is there to be asked.
        typer.Abort: the answer was no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("say --yes: nobody is there to be asked", param_hint="--yes")
    typer.confirm(question, abort=True, err=True)
