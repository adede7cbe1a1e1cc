"""What every configuration has in common."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

PositiveInt = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Temperature = Annotated[float, Field(gt=0, le=2)]


def check_different(temperatures: tuple[float, ...]) -> tuple[float, ...]:
    """Raise ValueError if two temperatures have one name: that of their first six digits."""
    if len({f"{temperature:g}" for temperature in temperatures}) < len(temperatures):
        raise ValueError("temperatures must differ")
    return temperatures


Temperatures = Annotated[tuple[Temperature, ...], AfterValidator(check_different)]


class Config(BaseModel):
    """Base of every configuration: frozen, and a field that does not exist is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
