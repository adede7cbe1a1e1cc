"""What every configuration has in common."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

PositiveInt = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Temperature = Annotated[float, Field(gt=0, le=2)]


def _check_differ(temperatures: tuple[float, ...]) -> tuple[float, ...]:
    if len({f"{value:g}" for value in temperatures}) < len(temperatures):  # so files are named
        raise ValueError("they must differ")
    return temperatures


Temperatures = Annotated[tuple[Temperature, ...], AfterValidator(_check_differ)]
"""Several, of which each has pictures of its own."""


class Config(BaseModel):
    """Base of every configuration: frozen, and a field that does not exist is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
