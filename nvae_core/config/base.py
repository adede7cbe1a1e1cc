"""What every configuration has in common."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictFloat, StrictInt

# Strict: `true` is no number.
PositiveInt = Annotated[StrictInt, Field(ge=1, lt=2**31)]
Seed = Annotated[StrictInt, Field(ge=0, lt=2**63)]
Temperature = Annotated[StrictFloat, Field(gt=0, le=2)]


def _check_differ(temperatures: tuple[float, ...]) -> tuple[float, ...]:
    if len({f"{value:g}" for value in temperatures}) < len(temperatures):  # so files are named
        raise ValueError("they must differ")
    return temperatures


Temperatures = Annotated[tuple[Temperature, ...], AfterValidator(_check_differ)]
"""Several, of which each has pictures of its own."""


def _require_tags(schema: dict[str, Any]) -> None:
    """Say in the JSON schema that what tells a union's members apart is not to be left out."""
    properties = schema.get("properties", {})
    tags = [name for name in ("kind", "analysis") if "const" in properties.get(name, {})]
    if tags:
        schema["required"] = [*tags, *(n for n in schema.get("required", ()) if n not in tags)]


class Config(BaseModel):
    """Base of every configuration: frozen, and a field that does not exist is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, json_schema_extra=_require_tags
    )
