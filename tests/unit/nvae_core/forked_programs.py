"""Programs in processes that are forked from one which has torch and nvae_core loaded.

A new interpreter imports torch for seconds; a fork takes milliseconds. Arguments, environment,
output, signals and exit status are as with `python -m MODULE`, with two exceptions:
what torch reads at its import is as it was there (OMP_NUM_THREADS is 1, CXX), and there is no
torchrun.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any

MAX_REQUEST_BYTES = 2**17


class Program:
    """A running program, with the methods of `subprocess.Popen` that the tests need."""

    def __init__(self, module: str, status: socket.socket) -> None:
        self._module = module
        self._status = status  # its process id, and at the end its exit status
        self.pid = self._receive()
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.returncode = self._receive()
            self._status.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status; raise `subprocess.TimeoutExpired` after so many seconds."""
        if self.returncode is None:
            select.select([self._status], [], [], timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(self._module, timeout or 0.0)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it with -9, if it still runs."""
        self.send_signal(signal.SIGKILL)

    def _receive(self) -> int:
        message = self._status.recv(100)
        assert message, "the process that forks programs has ended"
        return int(message)


def start(
    module: str,
    *arguments: object,
    stdout: IO[Any],
    stderr: IO[Any] | None = None,
    environment: Mapping[str, str] = {},
) -> Program:
    """Start a module as a program; without `stderr` its errors go to `stdout`."""
    request = {
        "module": module,
        "arguments": [str(argument) for argument in arguments],
        "environment": os.environ | environment,
        "folder": str(Path.cwd()),
    }
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    output, errors = stdout.fileno(), (stderr or stdout).fileno()
    with theirs:
        descriptors = [theirs.fileno(), output, errors]
        socket.send_fds(_server(), [json.dumps(request).encode()], descriptors)
    return Program(module, ours)


def run(
    module: str,
    *arguments: object,
    environment: Mapping[str, str] = {},
    timeout: float = 300.0,
) -> subprocess.CompletedProcess[str]:
    """Run a module as a program to its end, like `subprocess.run(…, text=True)`."""
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        program = start(module, *arguments, stdout=stdout, stderr=stderr, environment=environment)
        try:
            status = program.wait(timeout)
        finally:
            program.kill()
            program.wait()
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(module, status, stdout.read(), stderr.read())


@cache
def _server() -> socket.socket:
    """Start the process that forks; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _serve(connection: socket.socket) -> dict[str, Any] | None:
    """Fork for each request; return it in the new process, and None at the end in this one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    waiters: set[int] = set()  # processes that wait for a program's end
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, MAX_REQUEST_BYTES, 3)
        waiters = {process for process in waiters if os.waitpid(process, os.WNOHANG)[0] == 0}
        if not message:
            return None
        if (process := os.fork()) == 0:
            connection.close()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            return _fork(json.loads(message), *descriptors)
        waiters.add(process)
        for descriptor in descriptors:
            os.close(descriptor)


def _fork(request: dict[str, Any], status: int, output: int, errors: int) -> dict[str, Any]:
    """Return the request in the program's process; wait for its end in this one."""
    child = os.fork()
    if child == 0:
        os.close(status)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        os.close(output)
        os.close(errors)
        return request
    try:
        os.close(output)
        os.close(errors)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.write(status, str(child).encode())
        _, wait_status = os.waitpid(child, 0)
        os.write(status, str(os.waitstatus_to_exitcode(wait_status)).encode())
    finally:
        os._exit(0)


def _load() -> None:
    """Import all programs, and with them torch."""
    importlib.import_module("torch._dynamo")  # as the first optimizer does
    package = importlib.import_module("nvae_core.cli")
    for module in pkgutil.iter_modules(package.__path__, "nvae_core.cli."):
        importlib.import_module(module.name)


def _become(request: dict[str, Any]) -> None:
    """Run the program as `python -m` does, in this process."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv[1:] = request["arguments"]
    sys.modules.pop(request["module"], None)  # it is run, not only imported
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _load()
    gc.collect()
    gc.freeze()  # a fork copies no pages for its collector
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    if request is not None:
        _become(request)
