"""A part of the stack as data, and bringing one up until it answers."""

import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals

from services.local import processes
from services.local.errors import StackError
from services.local.ports import HOST, is_free

_POLL_SECONDS = 0.05


class WhenItEnds(Enum):
    """What the end of a part means for the stack."""

    RESTART = "restart"
    CONTINUE = "continue"  # runs once; the next part starts when it has exited 0
    STOP_STACK = "stop stack"  # the program the stack is there for, on our terminal


@dataclass(frozen=True, kw_only=True)
class Part:
    """One process to start, watch and stop."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[int, ...] = ()
    folder: Path | None = None  # a server works in its own, a service where we are
    user: int | None = None
    prepare: Callable[[], None] = lambda: None
    is_ready: Callable[[], bool] = lambda: True
    ready_within_seconds: float = 60.0
    when_it_ends: WhenItEnds = WhenItEnds.RESTART
    stop_signal: Signals = SIGTERM
    stop_within_seconds: float = 15.0
    death_signal: Signals = SIGKILL

    @property
    def is_server(self) -> bool:
        """Whether services depend on it, so that it stops after them."""
        return self.folder is not None


def refuse_taken_ports(parts: Iterable[Part]) -> None:
    """Raise a ``StackError`` if someone else listens on a port that one of the parts needs."""
    for part in parts:
        for port in part.ports:
            if not is_free(port):
                raise StackError(f"port {port} on {HOST}, needed by {part.name}, is taken")


def bring_up(
    part: Part,
    *,
    environment: Mapping[str, str],
    logs: Path,
    give_up: Callable[[], bool] = lambda: False,
) -> subprocess.Popen[bytes]:
    """Start a part and return once it is ready, or once ``give_up`` says to stop waiting.

    Raises ``StackError`` with the end of its log when it dies or does not get ready in time.
    """
    part.prepare()
    on_terminal = part.when_it_ends is WhenItEnds.STOP_STACK
    log = None if on_terminal else logs / f"{part.name}.log"
    process = processes.start(
        part.command,
        environment={**environment, **part.environment},
        log=log,
        folder=part.folder,
        user=part.user,
        death_signal=part.death_signal,
    )
    try:
        _wait_until_ready(part, process, log=log, give_up=give_up)
    except BaseException:
        take_down(part, process)
        raise
    return process


def take_down(part: Part, process: subprocess.Popen[bytes]) -> None:
    """Stop a part the way it likes to be stopped, and by force if it does not."""
    processes.stop(process, part.stop_signal, grace_seconds=part.stop_within_seconds)


def _wait_until_ready(
    part: Part,
    process: subprocess.Popen[bytes],
    *,
    log: Path | None,
    give_up: Callable[[], bool],
) -> None:
    deadline = time.monotonic() + part.ready_within_seconds
    while not give_up():
        status = process.poll()
        if part.when_it_ends is WhenItEnds.STOP_STACK:
            return
        if status is not None:
            if status == 0 and part.when_it_ends is WhenItEnds.CONTINUE:
                return
            raise StackError(_failure(part, f"ended with status {status}", log))
        if part.when_it_ends is WhenItEnds.RESTART and part.is_ready():
            return
        if time.monotonic() > deadline:
            problem = f"was not ready after {part.ready_within_seconds:.0f} s"
            raise StackError(_failure(part, problem, log))
        time.sleep(_POLL_SECONDS)


def _failure(part: Part, problem: str, log: Path | None) -> str:
    if log is None:
        return f"{part.name} {problem}"
    return f"{part.name} {problem}; the end of {log}:\n{processes.last_lines(log)}"
