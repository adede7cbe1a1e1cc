"""Server-sent events: from bytes to events, as the HTML standard reads them."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from nvae_client.errors import UNEXPECTED_ANSWER, ServiceError

# Not str.splitlines, which also ends a line at characters that a log may hold.
LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True)
class ServerSentEvent:
    """One event of a stream; `id` is where to go on after it."""

    id: str
    type: str
    data: str

    def json(self) -> Any:
        """Return the data as JSON."""
        try:
            return json.loads(self.data)
        except ValueError as error:
            detail = f"event {self.id or '?'} of the stream holds no JSON"
            raise ServiceError(status=200, code=UNEXPECTED_ANSWER, detail=detail) from error


@dataclass
class _Fields:
    """What was read of the event that is being read; the id stays for the next ones."""

    id: str = ""
    type: str = ""
    data: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self.data.append(value)
        elif name == "event":
            self.type = value
        elif name == "id" and "\0" not in value:
            self.id = value

    def take(self) -> ServerSentEvent | None:
        """Return the event that an empty line ended, None if there was none."""
        event = None
        if self.data:
            event = ServerSentEvent(self.id, self.type or "message", "\n".join(self.data))
        self.type, self.data = "", []
        return event


def parse_events(chunks: Iterable[bytes]) -> Iterator[ServerSentEvent]:
    """Return the complete events; one that the end of the stream cut off is none."""
    fields = _Fields()
    for line in _lines(chunks):
        if line:
            fields.add(line)
        elif event := fields.take():
            yield event


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        rest += chunk
        # A carriage return at the end may be the first half of a line's end.
        complete = rest[:-1] if rest.endswith(b"\r") else rest
        start = 0
        for end in LINE_END.finditer(complete):
            yield rest[start : end.start()].decode("utf-8", errors="replace")
            start = end.end()
        rest = rest[start:]
