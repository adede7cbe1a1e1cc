"""What all submissions have in common: name, tags, priority."""

from typing import Annotated

from pydantic import Field, StrictFloat, StrictInt, StringConstraints

from nvae_core.config import Config

NO_ZERO = r"^[^\x00]*$"  # Postgres cannot store one
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_ZERO)]
TagKey = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NO_ZERO)]
TagValue = Annotated[str, StringConstraints(max_length=256, pattern=NO_ZERO)]
Tags = Annotated[dict[TagKey, TagValue], Field(max_length=32)]
Priority = Annotated[StrictInt, Field(ge=0, le=100)]
MaxRunSeconds = Annotated[StrictFloat, Field(gt=0, le=10**9)]


class Submission(Config):
    """Fields of every spec."""

    name: Name | None = None
    tags: Tags = {}
    priority: Priority = 50
    max_run_seconds: MaxRunSeconds | None = None  # over all attempts
