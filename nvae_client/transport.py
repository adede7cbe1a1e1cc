"""Requests as the service wants them: with a key, safe to repeat, errors as one class."""

import contextlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from nvae_client.errors import UNEXPECTED_ANSWER, ServiceError
from nvae_client.problems import raise_for_problem
from nvae_client.retrying import Retries, RetryPolicy, Timing

T = TypeVar("T")
MAX_WAIT_SECONDS = 60  # that the service keeps a request open for


def new_idempotency_key() -> str:
    """Return a key that no other request has."""
    return secrets.token_urlsafe(24)


def part(value: str) -> str:
    """Return a name or id as one part of a path, whatever it holds."""
    return quote(value, safe="")


class Transport:
    """Sends requests, again where that helps, and reads the answers."""

    def __init__(
        self,
        http: httpx.Client,
        *,
        policy: RetryPolicy,
        timing: Timing,
        new_key: Callable[[], str],
    ) -> None:
        self._http = http
        self._policy = policy
        self._new_key = new_key
        self.timing = timing

    def retries(self, limit_seconds: float | None = None) -> Retries:
        """Return the tries of a new request, within the policy's time or another."""
        policy = self._policy
        if limit_seconds is not None:
            policy = RetryPolicy(
                limit_seconds, policy.first_delay_seconds, policy.longest_delay_seconds
            )
        return Retries(policy, self.timing)

    def get(
        self,
        path: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        wait_seconds: int = 0,
        limit_seconds: float | None = None,
    ) -> httpx.Response:
        """Ask for something; with `wait_seconds` the service may take its time."""
        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        request = self._build("GET", path, headers, wait_seconds, params=given)
        return self._send(request, self.retries(limit_seconds))

    def post(
        self,
        path: str,
        body: Any = None,
        *,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        wait_seconds: int = 0,
    ) -> httpx.Response:
        """Ask for a change, once, however often the request has to be sent."""
        own = {"Idempotency-Key": idempotency_key or self._new_key(), **(headers or {})}
        content = {} if body is None else {"json": body}
        return self._send(self._build("POST", path, own, wait_seconds, **content), self.retries())

    def change(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Send a PATCH or DELETE, which by their nature can be repeated."""
        content = {} if body is None else {"json": body}
        return self._send(self._build(method, path, None, 0, **content), self.retries())

    @contextlib.contextmanager
    def stream(
        self,
        path: str,
        *,
        headers: Mapping[str, str],
        parameters: Mapping[str, Any] | None = None,
        silence_seconds: float = 0.0,
    ) -> Iterator[httpx.Response]:
        """Open an answer that is read bit by bit, wherever it lies; one try.

        Args:
            path: at the service.
            headers: beside those that all requests have.
            parameters: of the query.
            silence_seconds: for how long nothing may come, at least.

        Raises:
            ServiceError: the service refused.
            httpx.TransportError: the connection broke.
        """
        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        request = self._build("GET", path, headers, 0, params=given)
        timeouts = request.extensions["timeout"]
        if timeouts["read"] is not None:
            timeouts["read"] = max(timeouts["read"], silence_seconds)
        response = self._http.send(request, stream=True, follow_redirects=True)
        with contextlib.closing(response):
            if response.is_error:
                response.read()
            raise_for_problem(response)
            yield response

    def _build(
        self, method: str, path: str, headers: Mapping[str, str] | None, wait: int, **content: Any
    ) -> httpx.Request:
        request = self._http.build_request(method, path, headers=dict(headers or {}), **content)
        if wait:
            request.headers["Prefer"] = f"wait={wait}"
            timeouts = request.extensions["timeout"]
            timeouts["read"] = (timeouts["read"] or 0) + wait
        return request

    def _send(self, request: httpx.Request, retries: Retries) -> httpx.Response:
        while True:
            try:
                response = self._http.send(request)
                raise_for_problem(response)
                return response
            except (httpx.TransportError, ServiceError) as error:
                retries.absorb(error)


def read(kind: type[T] | TypeAdapter[T], response: httpx.Response) -> T:
    """Return an answer as what it should be."""
    adapter = kind if isinstance(kind, TypeAdapter) else TypeAdapter(kind)
    try:
        return adapter.validate_json(response.content)
    except ValidationError as error:
        detail = f"{response.request.url} did not answer as an NVAE service does"
        raise ServiceError(
            status=response.status_code, code=UNEXPECTED_ANSWER, detail=detail
        ) from error
