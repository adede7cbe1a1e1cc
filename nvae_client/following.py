"""Streams that go on where they were when the connection broke."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

from nvae_client.errors import UNEXPECTED_ANSWER, ServiceError
from nvae_client.events import ServerSentEvent, parse_events
from nvae_client.transport import Transport

EVENT_STREAM = "text/event-stream"
SILENCE_SECONDS = 45.0  # a stream without an event has a comment every 15 s


def follow(
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
