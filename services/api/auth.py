"""Who makes a request: the key in `Authorization: Bearer …`, and what it is good for."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from services.api.dependencies import stores_of
from services.domain.access import Caller, Scope
from services.domain.errors import Forbidden, RateLimited, Unauthenticated

_BEARER = HTTPBearer(auto_error=False, description="An API key, `nvae_…`.")


def _require(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    async def check(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    ) -> Caller:
        if (checked := getattr(request.state, "caller", None)) is not None:
            return _permit(checked, scope)
        stores = stores_of(request)
        caller = await stores.keys.find_caller(credentials.credentials) if credentials else None
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
