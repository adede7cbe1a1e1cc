"""Answers sample runs from models that stay loaded.

`python -m nvae_core.cli.resident_sampler SOCKET BUDGET_BYTES IDLE_SECONDS` listens at a Unix
socket, and ends with its standard input, or when nobody has asked for a while. It takes one request
at a time, a JSON line:

- `{"run_directory": "…", "device": 0}` carries out the run, and says `done` when its result is
  there. The run stops when its stop file appears, its deadman's deadline passes, or the connection
  is closed.
- `{"release": [0, 1]}` ends the process if it has used one of these devices, else says `done`.
"""

import json
import os
import socket
import sys
import threading
from pathlib import Path

import torch

from nvae_core.cli.loaded_samplers import LoadedSamplers
from nvae_core.cli.running import carry_out
from nvae_core.config import SampleConfig
from nvae_core.distributed import limit_threads
from nvae_core.kernels.memory import keep_freed_memory
from nvae_core.run_directory import Result, RunDirectory
from nvae_core.sampling.run import sample_run

DONE = b"done\n"
REQUEST_SECONDS = 5.0  # in which a client has to say what it wants
MAX_REQUEST_BYTES = 64 * 1024


def main() -> int:
    """Serve until idle."""
    path, budget_bytes, idle_seconds = sys.argv[1:]
    threading.Thread(target=_end_with_input, daemon=True).start()
    limit_threads()
    keep_freed_memory()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        _listen(listener, Path(path))
        listener.settimeout(float(idle_seconds))
        resident = ResidentSampler(LoadedSamplers(int(budget_bytes)))
        while True:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                return 0
            with connection:
                if not resident.answer(connection):
                    return 0


class ResidentSampler:
    """Carries out one request after the other."""

    def __init__(self, samplers: LoadedSamplers) -> None:
        self._samplers = samplers
        self._used_devices: set[int] = set()

    def answer(self, connection: socket.socket) -> bool:
        """Do what a client asks for; return whether to go on serving."""
        try:
            connection.settimeout(REQUEST_SECONDS)
            request = json.loads(connection.makefile("rb").readline(MAX_REQUEST_BYTES))
            connection.setblocking(False)
            if "release" in request:
                if self._used_devices.intersection(request["release"]):
                    return False
            else:
                self._sample(Path(request["run_directory"]), int(request["device"]), connection)
            connection.sendall(DONE)
        except (OSError, ValueError, KeyError, TypeError) as error:
            sys.stderr.write(f"a request came to nothing: {error!r}\n")
        return True

    def _sample(self, path: Path, device_index: int, connection: socket.socket) -> None:
        run = RunDirectory(path)
        self._used_devices.add(device_index)
        device = torch.device("cpu")
        if torch.cuda.is_available():
            device = torch.device("cuda", device_index)

        def should_stop() -> bool:
            return run.stop_requested() or run.deadman_expired() or _is_closed(connection)

        def work(config: SampleConfig, run: RunDirectory) -> Result:
            sampler = self._samplers.take(run.path / config.checkpoint, device)
            return sample_run(config, run, sampler, should_stop=should_stop)

        carry_out(run, SampleConfig, work)
        self._samplers.trim()


def _listen(listener: socket.socket, path: Path) -> None:
    """Listen at a path that may be longer than the system allows for sockets."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        path.unlink(missing_ok=True)  # of a process before this one
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
    path.chmod(0o600)
    listener.listen()


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        continue
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
