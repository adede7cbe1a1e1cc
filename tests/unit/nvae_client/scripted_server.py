"""A small HTTP server that answers as it was told, and misbehaves as it was told."""

import json
import threading
from collections import defaultdict, deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Reply:
    """One answer; with `cut_after` the connection breaks after so many bytes of the body."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    drop: bool = False  # the connection breaks before anything is answered


def answer(content: Any, status: int = 200, **headers: str) -> Reply:
    """Return an answer in JSON."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(
        json.dumps(content).encode(), status, {"Content-Type": "application/json", **names}
    )


def problem(status: int, code: str, detail: str = "why", errors=(), **headers: str) -> Reply:
    """Return a refusal."""
    content = {"status": status, "code": code, "detail": detail, "errors": list(errors)}
    return answer({**content, "request_id": "req_1"}, status, **headers)


def events(*items: tuple[str, str, Any], cut: bool = False) -> Reply:
    """Return a stream of events, (id, type, data) each; with `cut` it breaks off at its end."""
    text = "".join(
        f"id: {number}\nevent: {type_}\ndata: {json.dumps(data)}\n\n"
        for number, type_, data in items
    )
    body = f": hello\n\n{text}".encode()
    headers = {"Content-Type": "text/event-stream"}
    return Reply(body + b"more" if cut else body, 200, headers, len(body) if cut else None)


@dataclass(frozen=True)
class Seen:
    """A request that came."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: Any


class ScriptedServer:
    """Answers of each path in order; the last one is given again and again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[Seen] = []
        self._scripts: dict[str, deque[Reply]] = defaultdict(deque)

    def script(self, path: str, *replies: Reply) -> None:
        """Say what is answered at a path."""
        self._scripts[path].extend(replies)

    def take(self, seen: Seen) -> Reply:
        """Return what is answered to a request."""
        self.requests.append(seen)
        script = self._scripts[seen.path]
        if not script:
            return problem(404, "not_found", f"nothing at {seen.path}")
        return script.popleft() if len(script) > 1 else script[0]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    scripted: ScriptedServer

    def _answer(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        split = urlsplit(self.path)
        body = json.loads(content) if content else None
        seen = Seen(self.command, split.path, split.query, dict(self.headers), body)
        reply = self.scripted.take(seen)
        self.close_connection = True
        if reply.drop:
            return
        self.send_response(reply.status)
        self.send_header("Connection", "close")
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body[: reply.cut_after])

    do_GET = do_POST = do_DELETE = do_PATCH = _answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextmanager
def running_server():
    """Start a server and stop it at the end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    scripted = ScriptedServer(f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass = type("Handler", (_Handler,), {"scripted": scripted})
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02))
    thread.start()
    yield scripted
    server.shutdown()
    thread.join()
    server.server_close()
