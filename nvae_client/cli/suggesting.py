"""The nearest names to one that the service does not know."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nvae_client.client import NvaeClient
from nvae_client.errors import NvaeError

OVERRIDES = "/overrides"


def suggest(client: NvaeClient, spec: Mapping[str, Any], pointers: Iterable[str]) -> list[str]:
    """Return hints about the names in a spec that are not known, at these pointers.

    None if the service cannot be asked: what is wrong was said already.
    """
    try:
        return [*_hints(client, spec, {*pointers})]
    except NvaeError:
        return []


def _hints(client: NvaeClient, spec: Mapping[str, Any], pointers: set[str]) -> Iterator[str]:
    if "/preset" in pointers:
        names = [preset.name for preset in client.presets.list()]
        yield from _nearest("preset", spec.get("preset"), names, "nvae presets")
    if "/dataset" in pointers:
        sets = [dataset.name for dataset in client.datasets.list() if dataset.status == "ready"]
        yield from _nearest(
            "data set that is ready", spec.get("dataset"), sets, "nvae datasets list"
        )
    in_overrides = any(pointer.startswith(OVERRIDES) for pointer in pointers)
    if in_overrides and (fields := _fields(client, spec.get("preset"))):
        for name in spec.get("overrides", {}):
            if name not in fields:
                yield from _nearest("override", name, fields, f"nvae presets {spec['preset']}")


def _fields(client: NvaeClient, preset_name: object) -> list[str]:
    for preset in client.presets.list():
        if preset.name == preset_name:
            model = [f"model.{name}" for name in preset.model]
            return [*model, *(f"optimization.{name}" for name in preset.optimization)]
    return []


def _nearest(word: str, given: object, known: Iterable[str], listed_by: str) -> Iterator[str]:
    names = [*known]
    if given in names:
        return
    near = difflib.get_close_matches(str(given), names, n=3, cutoff=0.5)
    if near:
        yield f"The nearest {word}: {', '.join(near)}. All of them: {listed_by}"
    elif names:
        yield f"There is no such {word}. All of them: {listed_by}"
    else:
        yield f"There is no {word} yet."
