"""The OpenAPI document: FastAPI's, with examples, and with what it gets wrong put right.

`python -m services.api --openapi > docs/openapi.json` writes the copy in which changes of the
surface can be seen.
"""

import json
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from services.api.examples import OF_PARAMETERS, OF_SCHEMAS

PROBLEM_TYPE = "application/problem+json"
PROBLEM = "#/components/schemas/Problem"


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the document of an application."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        for operation in _operations(document):
            _put_right(operation)
        schemas = document["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own; ours is Problem
            schemas.pop(name, None)
        for name, example in OF_SCHEMAS.items():
            schemas[name]["examples"] = [example]
        _drop_nested_mappings(document)
        app.openapi_schema = document
    return app.openapi_schema


def render(app: FastAPI) -> str:
    """Return the document as text, the same each time."""
    return json.dumps(describe(app), indent=1, ensure_ascii=False) + "\n"


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from methods.values()


def _put_right(operation: dict[str, Any]) -> None:
    for answer in operation["responses"].values():
        for media in answer.get("content", {}).values():
            if media.get("schema", {}).get("$ref") == PROBLEM:
                answer["content"] = {PROBLEM_TYPE: media}
    for parameter in operation.get("parameters", ()):
        example = OF_PARAMETERS.get(parameter["name"])
        if example is not None:
            parameter["example"] = example


def _drop_nested_mappings(node: Any) -> None:
    """A union within a union gets a mapping that OpenAPI does not know; `oneOf` says it all."""
    if isinstance(node, dict):
        mapping = node.get("discriminator", {})
        if isinstance(mapping, dict) and any(
            not isinstance(value, str) for value in mapping.get("mapping", {}).values()
        ):
            del node["discriminator"]
        for value in node.values():
            _drop_nested_mappings(value)
    elif isinstance(node, list):
        for value in node:
            _drop_nested_mappings(value)
