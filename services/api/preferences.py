"""What a client asks for beside the request: to wait, to get the picture, to hear as it comes.

Dependencies are coroutines throughout: FastAPI would hand plain functions to threads.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Header

MAX_WAIT_SECONDS = 60.0
WAIT = re.compile(r"wait(?:\s*=\s*\"?(\d{0,9})\"?)?", re.IGNORECASE)
NO_WEIGHT = re.compile(r"q\s*=\s*0(\.0*)?", re.IGNORECASE)
PICTURE = "image/png"
EVENT_STREAM = "text/event-stream"

Lines = list[str] | None  # a header may come in several lines, which are one list


async def _wait_seconds(
    prefer: Annotated[
        Lines,
        Header(
            description="`wait=N` (RFC 7240) answers when the job has ended, or after N seconds, "
            "60 at most, with the job as it is then; it goes on. `wait` alone is `wait=60`."
        ),
    ] = None,
) -> float | None:
    for preference in _members(prefer):
        if found := WAIT.fullmatch(preference.split(";")[0].strip()):
            return min(float(found[1] or MAX_WAIT_SECONDS), MAX_WAIT_SECONDS)
    return None


def _wants(media_type: str) -> Callable[..., Awaitable[bool]]:
    async def accepts(
        accept: Annotated[Lines, Header(include_in_schema=False)] = None,
    ) -> bool:
        return any(_names(kind, media_type) for kind in _members(accept))

    return accepts


def _names(kind: str, media_type: str) -> bool:
    """Whether a member of `Accept` is of this type, and not there to say that it is not wanted."""
    name, *parameters = (part.strip() for part in kind.split(";"))
    return name.lower() == media_type and not any(map(NO_WEIGHT.fullmatch, parameters))


def _members(lines: Lines) -> list[str]:
    return ",".join(lines or ()).split(",")


WaitSeconds = Annotated[float | None, Depends(_wait_seconds)]
"""How long the client wants to wait for the end of the job, None for not at all."""

WantsPicture = Annotated[bool, Depends(_wants(PICTURE))]
"""Whether the client would rather have the picture than the job."""

WantsStream = Annotated[bool, Depends(_wants(EVENT_STREAM))]
"""Whether the client would rather hear of it as it comes."""
