"""Child processes that never outlive the one that started them; parts of a stack made of them."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals

import psutil

from services.local.state import HOST, MARKER, StackError, is_free
from services.processes import end_all, find_marked

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_LONGEST_RUN_SECONDS = 60.0
_POLL_SECONDS = 0.05
_SERVERS = {"postgres": "postgres", "valkey": "valkey-server", "seaweedfs": "weed"}


def start(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path | None,
    folder: Path | None = None,
    user: int | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start a child in its own session, writing to ``log``; without one it shares our terminal.

    Call from the main thread only: the death signal fires when the *thread* that forked ends.
    """
    output = log.open("ab") if log else None
    try:
        return subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL if output else None,
            stdout=output,
            stderr=output,
            start_new_session=output is not None,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            preexec_fn=_die_with_parent(death_signal),  # noqa: PLW1509  # one thread, nothing held
        )
    finally:
        if output:
            output.close()


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path | None = None,
    user: int | None = None,
    stdin: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, out of reach of the terminal's Ctrl-C; stdout holds stderr too."""
    try:
        return subprocess.run(
            command,
            env=environment,
            cwd=folder,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_LONGEST_RUN_SECONDS,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            preexec_fn=_die_with_parent(signal.SIGKILL),
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(f"{command[0]} did not end in {_LONGEST_RUN_SECONDS:.0f} s") from error


def succeeds(command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> bool:
    """Whether a command exits 0 in time; what it says goes to ``log``."""
    try:
        ended = run(command, environment=environment)
    except StackError:
        return False
    with log.open("a") as file:
        file.write(ended.stdout)
    return ended.returncode == 0


def stop(process: subprocess.Popen[bytes], how: signal.Signals, *, grace_seconds: float) -> None:
    """Ask a child to end, and kill it when the grace is over."""
    if process.poll() is not None:
        return
    process.send_signal(how)
    try:
        process.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_lines(log: Path, *, num_lines: int = 15) -> str:
    """The end of a log, for an error message."""
    if not log.exists():
        return "(no log)"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16_384))
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(f"    {line[:300]}" for line in lines[-num_lines:]) or "(its log is empty)"


def _die_with_parent(death_signal: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()

    def in_child() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, death_signal)
        # The parent may have died before the line above; then no signal will come.
        if os.getppid() != parent:
            os._exit(1)

    return in_child


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
    if_taken: str = ""  # what to do about a port that somebody else has
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
                taken = f"port {port} on {HOST}, needed by {part.name}, is taken"
                raise StackError(f"{taken}{part.if_taken}")


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
    process = start(
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
    stop(process, part.stop_signal, grace_seconds=part.stop_within_seconds)


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
    return f"{part.name} {problem}; the end of {log}:\n{last_lines(log)}"


def end_leftovers(find: Callable[[], set[int]], *, grace_seconds: float = 5.0) -> set[int]:
    """End what ``find`` finds, see that nothing is left, and return the pids of what there was."""
    ended, left = end_all(find, grace_seconds=grace_seconds)
    if left:
        raise StackError(f"processes that cannot be ended: {sorted(left)}")
    return ended


def leftover_processes(folder: Path, stack_id: str) -> set[int]:
    """The pids of everything alive that belongs to a stack, our own excepted."""
    servers = (server_processes(folder / name) for name in _SERVERS)
    return _marked(stack_id).union(*servers)


def service_processes(folder: Path, stack_id: str) -> set[int]:
    """All of it without the servers."""
    # A backend that Postgres has just forked still shows the marker.
    servers = (server_processes(folder / name) for name in _SERVERS)
    return _marked(stack_id).difference(*servers)


def server_processes(home: Path) -> set[int]:
    """The processes of the server whose files are in ``home``.

    Postgres and Valkey write their titles over their environment, so the folder they work in
    tells them; the executable spares a shell that someone has open there.
    """
    program = _SERVERS.get(home.name)
    return {
        process.pid
        for process in psutil.process_iter(["cwd", "exe"])
        if program and process.info["cwd"] == str(home)
        if Path(process.info["exe"] or "").name == program
    }


def _marked(stack_id: str) -> set[int]:
    return find_marked(f"{MARKER}={stack_id}")
