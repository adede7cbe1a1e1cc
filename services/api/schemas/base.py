"""What all resources have in common."""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict


def _check_text(given: object) -> object:
    if not isinstance(given, str) or "T" not in given.upper():
        raise ValueError("must be a time such as 2026-02-15T09:00:00Z")
    return given


Moment = Annotated[AwareDatetime, BeforeValidator(_check_text)]
"""A time with its offset, as RFC 3339 has it; a number is none."""


class Resource(BaseModel):
    """Made from the attributes of a row."""

    model_config = ConfigDict(from_attributes=True)
