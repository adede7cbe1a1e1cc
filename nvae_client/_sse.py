"""Server-sent events: from bytes to events, over connections that may break."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from nvae_client._transport import Transport
from nvae_client.errors import UNEXPECTED_ANSWER, ServiceError

# Not str.splitlines, which also ends a line at characters that a log may hold.
LINE_END = re.compile(rb"\r\n|\n|\r")
EVENT_STREAM = "text/event-stream"
SILENCE_SECONDS = 45.0  # a stream without an event has a comment every 15 s


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


def follow_stream(
    transport: Transport,
    path: str,
    *,
    parameters: Mapping[str, Any],
    is_last: Callable[[ServerSentEvent], bool],
    has_ended: Callable[[], bool],
) -> Iterator[ServerSentEvent]:
    """Return a stream's events up to its last one, over as many connections as that takes.

    Args:
        transport: to the service.
        path: of the stream.
        parameters: of the first connection; later ones say with `Last-Event-ID` where to go on.
        is_last: whether nothing comes after an event.
        has_ended: whether nothing can come any more; asked when a stream ended without its last
            event, as one does that was followed from its end on.
    """
    retries = transport.retries()
    last_id, will_end = "", False
    while True:
        try:
            for event in _connect(transport, path, parameters, last_id):
                retries.made_progress()
                last_id, will_end = event.id or last_id, False
                yield event
                if is_last(event):
                    return
            if will_end:
                return
            will_end = has_ended()  # then what came before the end is asked for once more
            if not will_end:
                raise httpx.RemoteProtocolError("the stream ended before the job did")
        except (httpx.TransportError, ServiceError) as error:
            retries.absorb(error)


def _connect(
    transport: Transport, path: str, parameters: Mapping[str, Any], last_id: str
) -> Iterator[ServerSentEvent]:
    headers = {"Accept": EVENT_STREAM, "Cache-Control": "no-store"}
    if last_id:
        headers["Last-Event-ID"] = last_id
    with transport.stream(
        path, headers=headers, parameters=parameters, silence_seconds=SILENCE_SECONDS
    ) as response:
        if not response.headers.get("Content-Type", "").startswith(EVENT_STREAM):
            detail = f"{path} did not answer with a stream of events"
            raise ServiceError(status=response.status_code, code=UNEXPECTED_ANSWER, detail=detail)
        yield from parse_events(response.iter_bytes())
