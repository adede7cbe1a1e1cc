"""Image files decoded on all cores, in the order of their names.

A decoding process is replaced when a file kills it or takes too long.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import numpy.typing as npt

import nvae_core
from nvae_core.data.decoding.image import DecodePlan
from nvae_core.data.decoding.worker import READY

PROGRAM = "nvae_core.data.decoding.worker"
START_SECONDS = 120.0
TIMEOUT_SECONDS = 60.0  # without a reply; decoding takes milliseconds
MAX_PROCESSES = 16
MAX_FILES_PER_REQUEST = 64
MAX_REPLY_BYTES = 4 * 2**20
MAX_NAMES_CHARACTERS = 4096  # what waits to be read must fit the buffer between two processes
REQUESTS_AHEAD = 2  # of each decoder
ROOT = Path(nvae_core.__file__).parents[1]

Decoded = npt.NDArray[np.uint8] | str  # an image, or what is wrong with its file


class DecoderDoesNotStart(RuntimeError):
    """A decoding process ended before it decoded anything: the installation is broken."""


class Decoder:
    """Decodes files of one source in one other process, in the order they are asked for."""

    def __init__(self, path: Path, plan: DecodePlan) -> None:
        self._path = path
        self._plan = plan
        self._asked: deque[list[str]] = deque()
        self._start()

    def ask(self, names: Sequence[str]) -> None:
        """Ask for images; only a few requests may wait for their reply, or both ends block."""
        self._asked.append(list(names))
        self._send(self._asked[-1])

    def receive(self) -> list[Decoded]:
        """Return what the oldest request asked for."""
        names = self._asked.popleft()
        try:
            return self._read_reply(len(names))
        except (EOFError, OSError):
            self._restart()
        decoded = [self._decode_alone(name) for name in names]
        for waiting in self._asked:
            self._send(waiting)
        return decoded

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.kill()  # it writes nothing that could be cut off
        self._process.wait()

    def _decode_alone(self, name: str) -> Decoded:
        self._send([name])
        try:
            return self._read_reply(1)[0]
        except (EOFError, OSError) as error:
            self._restart()
            reason = "took too long" if isinstance(error, TimeoutError) else "died"
            return f"the decoder {reason} at this file"

    def _send(self, names: list[str]) -> None:
        with contextlib.suppress(OSError):  # a dead process is noticed where its reply is read
            self._connection.send_bytes(json.dumps(names).encode())

    def _read_reply(self, num_images: int) -> list[Decoded]:
        if not self._is_ready:
            self._wait_until_ready()
        problems = json.loads(self._receive_bytes(TIMEOUT_SECONDS))
        pixels = np.frombuffer(self._receive_bytes(TIMEOUT_SECONDS), np.uint8)
        images = iter(pixels.reshape(-1, *self._plan.shape))
        assert len(problems) == num_images
        return [next(images) if problem is None else str(problem) for problem in problems]

    def _wait_until_ready(self) -> None:
        try:
            self._is_ready = self._receive_bytes(START_SECONDS) == READY
        except (EOFError, OSError) as error:
            message = "the image decoder does not start; what it printed says why"
            raise DecoderDoesNotStart(message) from error

    def _receive_bytes(self, timeout_seconds: float) -> bytes:
        if not self._connection.poll(timeout_seconds):
            raise TimeoutError
        return self._connection.recv_bytes()

    def _restart(self) -> None:
        self.close()
        self._start()

    def _start(self) -> None:
        near, far = socket.socketpair()
        arguments = [str(far.fileno()), str(self._path), json.dumps(asdict(self._plan))]
        # Its own memory limit leaves no room for the threads that OpenBLAS would start.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": _python_path()}
        with far:
            self._process = subprocess.Popen(
                [sys.executable, "-m", PROGRAM, *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=(far.fileno(),),
            )
        self._connection = Connection(near.detach())
        self._is_ready = False


def _python_path() -> str:
    inherited = os.environ.get("PYTHONPATH")
    return f"{ROOT}{os.pathsep}{inherited}" if inherited else str(ROOT)


def decode_in_order(
    path: Path, names: Sequence[str], plan: DecodePlan, *, num_processes: int | None = None
) -> Iterator[list[tuple[str, Decoded]]]:
    """Yield batches of (name, image or problem), the same whatever the number of processes.

    Args:
        path: folder or zip archive that holds the files.
        names: of the files.
        plan: how to decode them.
        num_processes: one for each core this process may use, where it is not given.
    """
    requests = list(_requests(names, plan))
    wanted = num_processes or min(MAX_PROCESSES, len(os.sched_getaffinity(0)))
    decoders: list[Decoder] = []
    try:
        decoders.extend(Decoder(path, plan) for _ in range(min(wanted, len(requests))))
        # Each takes its turn, so replies come in the order of the requests.
        ahead = REQUESTS_AHEAD * len(decoders)
        for turn in range(len(requests) + ahead):
            if turn < len(requests):
                decoders[turn % len(decoders)].ask(requests[turn])
            done = turn - ahead
            if done >= 0:
                decoded = decoders[done % len(decoders)].receive()
                yield list(zip(requests[done], decoded, strict=True))
    finally:
        for decoder in decoders:
            decoder.close()


def _requests(names: Sequence[str], plan: DecodePlan) -> Iterator[list[str]]:
    height, width, num_colors = plan.shape
    max_files = min(MAX_FILES_PER_REQUEST, max(1, MAX_REPLY_BYTES // (height * width * num_colors)))
    request: list[str] = []
    num_characters = 0
    for name in names:
        if request and (
            len(request) == max_files or num_characters + len(name) > MAX_NAMES_CHARACTERS
        ):
            yield request
            request, num_characters = [], 0
        request.append(name)
        num_characters += len(name)
    if request:
        yield request
