"""A POST takes effect once: with `Idempotency-Key` its answer is stored with the effect."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from services.api.auth import Submitter
from services.api.dependencies import Stores, StoresDependency
from services.database import idempotency
from services.database.idempotency import StoredAnswer
from services.database.session import Session

Body = TypeVar("Body", bound=BaseModel)
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="Of your choice, unique to this request. Sent again within a day, the same "
        "request does nothing and gets the same answer; another one is refused (422).",
    ),
]


@dataclass(frozen=True)
class Answer:
    """What goes back to the client."""

    stored: StoredAnswer
    replayed: bool

    def response(self, **headers: str) -> Response:
        """Return it as a response."""
        all_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.stored.location:
            all_headers["Location"] = self.stored.location
        if self.replayed:
            all_headers["Idempotency-Replayed"] = "true"
        return Response(
            self.stored.body, self.stored.status, all_headers, media_type="application/json"
        )


class IdempotentRequest:
    """One request, and how to let it take effect."""

    def __init__(self, stores: Stores, project: str, key: str | None, request_hash: str) -> None:
        self._database = stores.database
        self._project = project
        self._key = key
        self._request_hash = request_hash

    async def perform(
        self,
        effect: Callable[[Session], Awaitable[Body]],
        *,
        status: int = 200,
        location: Callable[[Body], str | None] = lambda body: None,
        keep: Callable[[Body], Body] = lambda body: body,
    ) -> Answer:
        """Let it take effect and return the answer, or that of the same request before.

        Args:
            effect: what is to be done in the transaction; what it returns is the answer's body.
            status: of the answer.
            location: where what was made can be found.
            keep: what of the body is stored for the next time.
        """
        async with self._database.transaction() as session:
            if self._key is not None:
                before = await idempotency.begin(
                    session, self._project, self._key, request_hash=self._request_hash
                )
                if before is not None:
                    return Answer(before, replayed=True)
            body = await effect(session)
            answer = StoredAnswer(status, location(body), body.model_dump_json())
            if self._key is not None:
                stored = StoredAnswer(status, answer.location, keep(body).model_dump_json())
                await idempotency.finish(session, self._project, self._key, stored)
        return Answer(answer, replayed=False)


async def _idempotent_request(
    request: Request, stores: StoresDependency, caller: Submitter, key: Key = None
) -> IdempotentRequest:
    whole = b"\0".join((request.method.encode(), request.url.path.encode(), await request.body()))
    return IdempotentRequest(stores, caller.project, key, hashlib.sha256(whole).hexdigest())


Idempotent = Annotated[IdempotentRequest, Depends(_idempotent_request)]
