"""Specs of jobs from options; what was not given is left to the service."""

from collections.abc import Iterable, Mapping
from typing import Any

from nvae_client.cli.assignments import parse_texts, set_fields


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


def _present(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}
