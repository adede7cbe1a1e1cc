"""The OpenAPI document: complete, right, and changed only on purpose."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from services.api import checkpoints, datasets, errors, keys, nodes, presets, results
from services.api.app import make_app
from services.api.examples import OF_SCHEMAS
from services.api.jobs import plan, schemas
from services.api.jobs.submission import ForkOptions
from services.api.openapi import describe, render
from services.domain.specs import CheckpointImport, DatasetSpec

KEPT = Path(__file__).parents[3] / "docs" / "openapi.json"
MODELS = {
    name: model
    for module in (schemas, keys, nodes, errors, results, checkpoints, datasets, presets, plan)
    for name, model in vars(module).items()
    if isinstance(model, type) and issubclass(model, BaseModel)
} | {model.__name__: model for model in (ForkOptions, DatasetSpec, CheckpointImport)}


@pytest.fixture(scope="module")
def document():
    return describe(make_app())


def test_surface_is_as_its_kept_document_says():
    """`python -m services.api --openapi > docs/openapi.json` after a change that is meant."""
    assert render(make_app()) == KEPT.read_text()


def test_page_about_the_api_has_every_code():
    page = (KEPT.parent / "api.md").read_text()
    listed = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert set(listed[1:]) == set(errors.ErrorCode)


@pytest.mark.parametrize("name", OF_SCHEMAS)
def test_example_is_one_of_its_schema(name):
    MODELS[name].model_validate(OF_SCHEMAS[name])


def test_every_operation_is_described_and_has_examples(document):
    schemas = document["components"]["schemas"]
    names = set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            assert operation["description"], where
            names.add(operation["operationId"])
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            if body and "examples" not in body:
                assert example_of(body["schema"], schemas), where
            if "health" in operation["tags"]:
                continue
            assert {"401", "403", "404", "422", "429", "503"} <= set(operation["responses"]), where
            for status, answer in operation["responses"].items():
                assert answer["description"], where
                schema = answer.get("content", {}).get("application/json", {}).get("schema")
                if schema is not None and not operation["operationId"].endswith("metrics"):
                    assert example_of(schema, schemas), (where, status)
    assert len(names) == sum(len(methods) for methods in document["paths"].values())


def example_of(schema, schemas):
    """Return an example of a schema, of one of its members, or of its items."""
    members = [schema, *schema.get("anyOf", ()), schema.get("items", {})]
    names = [member["$ref"].rpartition("/")[2] for member in members if "$ref" in member]
    return any(schemas[name].get("examples") for name in names)


def test_submission_is_created_or_goes_on(document):
    answers = document["paths"]["/v1/jobs"]["post"]["responses"]
    assert {status for status in answers if status < "300"} == {"201", "202"}


def test_problems_have_their_own_type(document):
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if status >= "400" and "content" in answer:
                    assert list(answer["content"]) == ["application/problem+json"]
