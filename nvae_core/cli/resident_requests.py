"""What clients ask of the resident sampler: heard at once, each taken in its turn."""

import contextlib
import json
import os
import queue
import socket
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

QUEUED = b"queued\n"
BEGUN = b"begun\n"
DONE = b"done\n"
REQUEST_SECONDS = 1.0  # in which a client has to say what it wants
MAX_REQUEST_BYTES = 64 * 1024


@dataclass(frozen=True)
class Request:
    """What one client waits for."""

    connection: socket.socket
    run_directory: Path | None  # None: for the process to end

    def is_given_up(self) -> bool:
        """Whether the client has closed the connection, or its side of it."""
        try:
            return self.connection.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def tell(self, word: bytes) -> None:
        """Send the client a word; it may have gone."""
        with contextlib.suppress(OSError):
            self.connection.sendall(word)


class Requests:
    """A socket at a path; a thread of its own hears who connects, whatever the process is doing."""

    def __init__(self, path: Path) -> None:
        self._listener = _listen(path)
        self._waiting: queue.Queue[Request] = queue.Queue()
        threading.Thread(target=self._hear, daemon=True).start()

    def next(self, seconds: float) -> Request | None:
        """Return the one whose turn it is, or None if nobody comes within so many seconds."""
        try:
            return self._waiting.get(timeout=seconds)
        except queue.Empty:
            return None

    def _hear(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:  # without new requests there is no use for the process
                sys.stderr.write(f"nobody can be heard any more: {error!r}\n")
                os._exit(1)
            try:
                self._waiting.put(_read(connection))
            except (OSError, ValueError, KeyError, TypeError) as error:
                sys.stderr.write(f"a request came to nothing: {error!r}\n")
                connection.close()


def _read(connection: socket.socket) -> Request:
    connection.settimeout(REQUEST_SECONDS)
    with connection.makefile("rb") as stream:
        given = json.loads(stream.readline(MAX_REQUEST_BYTES))
    is_release = given.get("release") is True
    request = Request(connection, None if is_release else Path(given["run_directory"]))
    connection.sendall(QUEUED)
    connection.setblocking(False)
    return request


def _listen(path: Path) -> socket.socket:
    """Listen at a path that may be longer than the system allows for sockets."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        path.unlink(missing_ok=True)  # of a process before this one
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
    path.chmod(0o600)
    listener.listen()
    return listener
