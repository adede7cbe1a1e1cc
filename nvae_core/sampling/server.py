"""The resident sampler: sample runs, one after the other, by models that stay loaded.

It listens at a Unix socket. A request is a JSON line; lines answer it:

- `{"run_directory": "…"}`: `queued` at once, `begun` when its turn has come, and `done` when its
  result is there. If the connection ends before `begun`, nothing has happened to the run, and
  somebody else can carry it out. A run stops when its stop file appears, its deadman's deadline
  passes, or the connection is closed.
- `{"release": true}`: `queued`; the process ends when it has done what was asked for before.

A run that breaks the process, or that finds no memory beside the models that are loaded, is left
without a result: the process ends, and a process of its own may well succeed.
"""

import contextlib
import json
import os
import queue
import socket
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch

from nvae_core.checkpoint import MODEL_NAME, read_manifest
from nvae_core.config import SampleConfig
from nvae_core.run_directory import ExitReason, Result, RunDirectory
from nvae_core.runtime.program import carry_out
from nvae_core.sampling.run import sample_run
from nvae_core.sampling.sampler import Sampler

QUEUED = b"queued\n"
BEGUN = b"begun\n"
DONE = b"done\n"
REQUEST_SECONDS = 1.0  # in which a client has to say what it wants
MAX_REQUEST_BYTES = 64 * 1024
# Of runs after which the process ends. A device stays broken for the process that met its error.
BROKEN = frozenset({ExitReason.TRAINER_CRASHED, ExitReason.OUT_OF_MEMORY, ExitReason.DEVICE_ERROR})


def serve(path: Path, *, budget_bytes: int, idle_seconds: float, device: torch.device) -> int:
    """Serve at a path until idle, released or broken; return the exit status."""
    samplers = LoadedSamplers(budget_bytes, device)
    requests = RequestQueue(path)
    while request := requests.next(idle_seconds):
        with request.connection:
            if request.run_directory is None:
                return 0
            if request.is_closed():
                continue
            request.send(BEGUN)
            if not _sample(samplers, request, RunDirectory(request.run_directory)):
                return 1
            request.send(DONE)
    return 0


@dataclass(frozen=True)
class Request:
    """What one client waits for."""

    connection: socket.socket
    run_directory: Path | None  # None: for the process to end

    def is_closed(self) -> bool:
        """Whether the client has closed the connection, or its side of it."""
        try:
            return self.connection.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def send(self, word: bytes) -> None:
        """Send the client a word; it may have gone."""
        with contextlib.suppress(OSError):
            self.connection.sendall(word)


def _sample(samplers: "LoadedSamplers", request: Request, run: RunDirectory) -> bool:
    """Carry out a run; return whether this process can go on."""

    def should_stop() -> bool:
        return run.stop_requested() or run.deadman_expired() or request.is_closed()

    def work(config: SampleConfig, run: RunDirectory) -> Result:
        sampler = samplers.take(run.path / config.checkpoint)
        return sample_run(config, run, sampler, should_stop=should_stop)

    result = carry_out(run, SampleConfig, work, no_result_for=BROKEN)
    samplers.trim()
    return result.reason not in BROKEN


class RequestQueue:
    """Requests at a socket; a thread of its own accepts them, whatever the process is doing."""

    def __init__(self, path: Path) -> None:
        self._listener = _listen(path)
        self._waiting: queue.Queue[Request] = queue.Queue()
        threading.Thread(target=self._accept, daemon=True).start()

    def next(self, seconds: float) -> Request | None:
        """Return the one whose turn it is, or None if nobody comes within so many seconds."""
        try:
            return self._waiting.get(timeout=seconds)
        except queue.Empty:
            return None

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:  # without new requests there is no use for the process
                sys.stderr.write(f"nobody can be heard any more: {error!r}\n")
                os._exit(1)
            try:
                self._waiting.put(_read(connection))
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                sys.stderr.write(f"a request came to nothing: {error!r}\n")
                connection.close()


def _read(connection: socket.socket) -> Request:
    connection.settimeout(REQUEST_SECONDS)
    with connection.makefile("rb") as stream:
        fields = json.loads(stream.readline(MAX_REQUEST_BYTES))
    is_release = fields.get("release") is True
    request = Request(connection, None if is_release else Path(fields["run_directory"]))
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


class LoadedSamplers:
    """Samplers of a device by checkpoint; the longest unused go when the budget is exceeded."""

    def __init__(self, budget_bytes: int, device: torch.device) -> None:
        self._budget_bytes = budget_bytes
        self._device = device
        self._loaded: OrderedDict[tuple[Path, str], Sampler] = OrderedDict()

    def take(self, checkpoint: Path) -> Sampler:
        """Return the sampler of a checkpoint's folder, loading it if need be.

        Raises:
            CheckpointCorrupt: the folder does not hold a whole checkpoint.
        """
        # What the folder holds now: at the same path there may be another one than before.
        record = read_manifest(checkpoint).files.get(MODEL_NAME)
        key = (checkpoint, record.sha256 if record else "")
        sampler = self._loaded.pop(key, None)
        if sampler is None:
            sampler = Sampler.load(checkpoint, self._device)
        self._loaded[key] = sampler
        return sampler

    def trim(self) -> None:
        """Drop what is beyond the budget; a call's own sampler may be larger than all of it.

        First statistics, which can be had again without reading the model, then models.
        """
        for sampler in self._loaded.values():
            while self.num_bytes > self._budget_bytes and sampler.drop_statistics():
                continue
        while self._loaded and self.num_bytes > self._budget_bytes:
            self._loaded.popitem(last=False)

    @property
    def num_bytes(self) -> int:
        """Size of everything that is loaded."""
        return sum(sampler.num_bytes for sampler in self._loaded.values())
