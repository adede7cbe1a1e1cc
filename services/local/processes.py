"""Starting and stopping child processes that never outlive the process that started them."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from services.local.errors import StackError

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_LONGEST_RUN_SECONDS = 60.0


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
