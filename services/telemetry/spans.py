"""What the services ask of traces, and the span that they get while there are none."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any, Protocol, Self

Attributes = Mapping[str, str | int | float | bool | None]
NO_ATTRIBUTES: Attributes = MappingProxyType({})


class Span(Protocol):
    """A span that has begun."""

    @property
    def traceparent(self) -> str | None:
        """Its W3C context, by which other processes go on from it; None while it is off."""

    def describe(self, attributes: Attributes) -> None:
        """Add attributes."""

    def fail(self, message: str) -> None:
        """Make it an error."""


class Tracing(Protocol):
    """Where the spans of a process go."""

    provider: Any

    def __init__(self, part: str) -> None: ...

    def span(
        self, name: str, *, parent: str | None, attributes: Attributes
    ) -> AbstractContextManager[Span]:
        """Return a block that is a span."""

    def record(
        self,
        name: str,
        *,
        parent: str | None,
        started_at: float,
        ended_at: float,
        attributes: Attributes,
        error: str | None,
    ) -> str | None:
        """Tell of something that has ended."""

    def current(self) -> Span:
        """Return the current span."""

    def log_ids(self) -> dict[str, str]:
        """Return the ids of the current trace and span; empty outside of one."""

    def stop(self, *, seconds: float) -> None:
        """Send what is left."""


class NoSpan:
    """The span of a process that is not traced."""

    traceparent: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def describe(self, attributes: Attributes) -> None:
        """Do nothing."""

    def fail(self, message: str) -> None:
        """Do nothing."""


NO_SPAN = NoSpan()
