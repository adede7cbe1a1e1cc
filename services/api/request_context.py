"""Around every request: its id, its line in the log, and the headers that all answers have."""

import re
import secrets
import time
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.adapters import tracing
from services.adapters.rate_limits import Allowance
from services.api.prometheus import Metrics

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

log = structlog.get_logger()


class RequestContext:
    """ASGI middleware; an answer may be a stream that lasts for hours."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("X-Request-Id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(8)}"
        tracing.current().describe({"nvae.request.id": request_id})
        state: dict[str, Any] = scope.setdefault("state", {})
        status = 500
        started_at = time.monotonic()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                route = getattr(scope.get("route"), "path", "none")
                seconds = time.monotonic() - started_at
                self._metrics.answered(scope["method"], route, status, seconds)
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                if isinstance(allowance := state.get("allowance"), Allowance):
                    headers["RateLimit-Limit"] = str(allowance.limit)
                    headers["RateLimit-Remaining"] = str(allowance.remaining)
                    headers["RateLimit-Reset"] = str(allowance.reset_seconds)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_headers)
            finally:
                caller = state.get("caller")
                log.info(
                    "request.answered",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    milliseconds=round(1000 * (time.monotonic() - started_at), 1),
                    key=caller.key_id if caller else None,
                )
