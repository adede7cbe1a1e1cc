"""Requests as the service wants them: with a key, safe to repeat, retried, errors as one class."""

import contextlib
import os
import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from nvae_client.errors import (
    UNEXPECTED_ANSWER,
    ServiceError,
    ServiceUnreachable,
    raise_for_problem,
)

URL_VARIABLE = "NVAE_API_URL"
KEY_VARIABLE = "NVAE_API_KEY"
DEFAULT_URL = "http://127.0.0.1:8000"
RETRIED_STATUSES = frozenset({429, 502, 503, 504})  # 502 and 504: a proxy without its service
OURS = (httpx.LocalProtocolError, httpx.UnsupportedProtocol)  # a second try would be the same
T = TypeVar("T")
MAX_WAIT_SECONDS = 60  # that the service keeps a request open for


def choose_address(url: str | None, api_key: str | None) -> tuple[str, str | None]:
    """Return the service's URL and the key to show it, if there is one.

    An argument comes before the environment's variable.

    Raises:
        ValueError: the URL or the key cannot be one.
    """
    url = (url or os.environ.get(URL_VARIABLE) or DEFAULT_URL).strip().rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"the service's URL must begin with http:// or https://, not {url!r}")
    api_key = (api_key or os.environ.get(KEY_VARIABLE) or "").strip()
    if not (api_key.isascii() and api_key.isprintable()):
        raise ValueError("the API key has characters that no key has; copy it again")
    return url, api_key or None


@dataclass(frozen=True)
class Timing:
    """The clock, what sleeps, and the source of jitter in [0, 1)."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random


@dataclass(frozen=True)
class RetryPolicy:
    """For how long one request is tried, and how long the pauses are."""

    limit_seconds: float = 60.0
    first_delay_seconds: float = 0.25
    longest_delay_seconds: float = 8.0


class Retries:
    """The tries of one request, or of one stream since it last made progress."""

    def __init__(self, policy: RetryPolicy, timing: Timing) -> None:
        self._policy = policy
        self._timing = timing
        self.made_progress()

    def made_progress(self) -> None:
        """Begin to count anew."""
        self._num_failures = 0
        self._ends_at = self._timing.clock() + self._policy.limit_seconds

    def absorb(self, error: Exception) -> None:
        """Return when it is time for the next try.

        Raises:
            ServiceError: the same, if trying again does not help or takes too long.
            ServiceUnreachable: in place of an error of the connection.
        """
        if isinstance(error, ServiceError):
            if error.status not in RETRIED_STATUSES or not self._pause(error.retry_after_seconds):
                raise error
        elif isinstance(error, OURS) or not self._pause(None):
            raise ServiceUnreachable(str(error) or type(error).__name__) from error

    def _pause(self, asked_seconds: float | None) -> bool:
        """Sleep, unless the time would be over before the next try."""
        doubled = self._policy.first_delay_seconds * 2.0 ** min(self._num_failures, 30)
        delay = min(doubled, self._policy.longest_delay_seconds)
        delay *= 0.5 + 0.5 * self._timing.random()
        if asked_seconds is not None:
            # Never before the service wants it, and not all at the very moment it wants it.
            delay = asked_seconds + min(delay, self._policy.first_delay_seconds)
        if self._timing.clock() + delay > self._ends_at:
            return False
        self._num_failures += 1
        self._timing.sleep(delay)
        return True


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
            policy = replace(policy, limit_seconds=limit_seconds)
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
        request = self._build(
            "GET", path, headers=headers, wait_seconds=wait_seconds, parameters=parameters
        )
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
        headers = {"Idempotency-Key": idempotency_key or self._new_key(), **(headers or {})}
        request = self._build("POST", path, headers=headers, wait_seconds=wait_seconds, body=body)
        return self._send(request, self.retries())

    def change(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Send a PATCH or DELETE, which by their nature can be repeated."""
        return self._send(self._build(method, path, body=body), self.retries())

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
        request = self._build("GET", path, headers=headers, parameters=parameters)
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
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        wait_seconds: int = 0,
        parameters: Mapping[str, Any] | None = None,
        body: Any = None,
    ) -> httpx.Request:
        query = {name: value for name, value in (parameters or {}).items() if value is not None}
        request = self._http.build_request(method, path, headers=headers, params=query, json=body)
        if wait_seconds:
            request.headers["Prefer"] = f"wait={wait_seconds}"
            timeouts = request.extensions["timeout"]
            timeouts["read"] = (timeouts["read"] or 0) + wait_seconds
        return request

    def _send(self, request: httpx.Request, retries: Retries) -> httpx.Response:
        while True:
            try:
                response = self._http.send(request)
                raise_for_problem(response)
                return response
            except (httpx.TransportError, ServiceError) as error:
                retries.absorb(error)


def read(kind: type[T], response: httpx.Response) -> T:
    """Return an answer as what it should be.

    Raises:
        ServiceError: it is something else.
    """
    try:
        return TypeAdapter(kind).validate_json(response.content)
    except ValidationError as error:
        detail = f"{response.request.url} did not answer as an NVAE service does"
        raise ServiceError(
            status=response.status_code, code=UNEXPECTED_ANSWER, detail=detail
        ) from error
