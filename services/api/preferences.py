"""What a client asks for beside the request: to wait, to get the picture, to hear as it comes.

Dependencies are coroutines throughout: FastAPI would hand plain functions to threads.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Header

MAX_WAIT_SECONDS = 60.0
WAIT = re.compile(r"wait\s*=\s*\"?(\d{1,9})\"?", re.IGNORECASE)
PICTURE = "image/png"
EVENT_STREAM = "text/event-stream"


async def _wait_seconds(
    prefer: Annotated[
        str | None,
        Header(
            description="`wait=N` (RFC 7240) answers when the job has ended, or after N seconds, "
            "60 at most, with 202 and the job as it is then; it goes on."
        ),
    ] = None,
) -> float | None:
    for preference in (prefer or "").split(","):
        if found := WAIT.fullmatch(preference.split(";")[0].strip()):
            return min(float(found[1]), MAX_WAIT_SECONDS)
    return None


def _wants(media_type: str) -> Callable[..., Awaitable[bool]]:
    async def accepts(
        accept: Annotated[str | None, Header(include_in_schema=False)] = None,
    ) -> bool:
        kinds = [kind.split(";")[0].strip().lower() for kind in (accept or "").split(",")]
        return media_type in kinds

    return accepts


WaitSeconds = Annotated[float | None, Depends(_wait_seconds)]
"""How long the client wants to wait for the end of the job, None for not at all."""

WantsPicture = Annotated[bool, Depends(_wants(PICTURE))]
"""Whether the client would rather have the picture than the job."""

WantsStream = Annotated[bool, Depends(_wants(EVENT_STREAM))]
"""Whether the client would rather hear of it as it comes."""
