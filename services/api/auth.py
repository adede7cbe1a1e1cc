"""Who makes a request: the key in `Authorization: Bearer …`, and what it is good for."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from services.api.dependencies import stores_of
from services.database import api_keys
from services.database.session import Database
from services.domain.access import Caller, Scope, hash_key
from services.domain.errors import Forbidden, RateLimited, Unauthenticated

_BEARER = HTTPBearer(auto_error=False, description="An API key, `nvae_…`.")
REMEMBERED_SECONDS = 5.0  # a key that is revoked is good for so much longer, at most
MAX_REMEMBERED = 10_000


@dataclass(frozen=True)
class _Known:
    caller: Caller | None  # None: there is no such key, or it was revoked
    expires_at: datetime | None
    read_at: float


class KeyCache:
    """Finds who has a key: as Postgres has it, and remembered for some seconds."""

    def __init__(
        self,
        database: Database,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._monotonic = monotonic
        self._now = now
        self._known: dict[str, _Known] = {}

    async def find_caller(self, key: str) -> Caller | None:
        """Return who has this key, or None if it is good for nothing."""
        key_hash = hash_key(key)
        known = self._known.get(key_hash)
        if known is None or self._monotonic() > known.read_at + REMEMBERED_SECONDS:
            known = await self._read(key_hash)
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            self._known[key_hash] = known
        if known.expires_at is not None and known.expires_at <= self._now():
            return None
        return known.caller

    async def _read(self, key_hash: str) -> _Known:
        read_at = self._monotonic()
        async with self._database.transaction() as session:
            row = await api_keys.find_by_hash(session, key_hash)
        if row is None or row.revoked_at is not None:
            return _Known(None, None, read_at)
        scopes = frozenset(Scope(scope) for scope in row.scopes)
        return _Known(Caller(row.id, row.project, scopes), row.expires_at, read_at)


def _require(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    async def check(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    ) -> Caller:
        if (checked := getattr(request.state, "caller", None)) is not None:
            return _permit(checked, scope)
        stores = stores_of(request)
        keys: KeyCache = request.app.state.keys
        caller = await keys.find_caller(credentials.credentials) if credentials else None
        host = request.client.host if request.client else "unknown"
        allowance = stores.rates.take(caller.key_id if caller else f"host {host}")
        request.state.allowance = allowance
        if not allowance.allowed:
            raise RateLimited(
                f"more than {allowance.limit} requests within a minute",
                retry_after_seconds=allowance.reset_seconds,
            )
        if caller is None:
            why = "is unknown, revoked or expired" if credentials else "is missing"
            raise Unauthenticated(f"the API key {why}; send `Authorization: Bearer nvae_…`")
        request.state.caller = caller
        return _permit(caller, scope)

    return check


def _permit(caller: Caller, scope: Scope) -> Caller:
    if not caller.may(scope):
        raise Forbidden(f"this needs a key with the scope {scope.value!r}")
    return caller


Reader = Annotated[Caller, Security(_require(Scope.READ))]
Submitter = Annotated[Caller, Security(_require(Scope.SUBMIT))]
Admin = Annotated[Caller, Security(_require(Scope.ADMIN))]
