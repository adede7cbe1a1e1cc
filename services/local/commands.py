"""What `python -m services.local` does: up, down, status, environment and demo."""

import contextlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TextIO

import psutil

from services.local import processes, state
from services.local.processes import Part, WhenItEnds
from services.local.stack import (
    ServiceOptions,
    api_url,
    inherited,
    server_environment,
    server_parts,
    service_environment,
    service_parts,
)
from services.local.state import (
    OF_ITS_PROCESSES,
    STACK_NAME,
    StackError,
    StackFile,
    create_folder,
    load_or_create,
)
from services.local.supervisor import Signals, Supervisor

_DOWN_WITHIN_SECONDS = 120.0


def up(folder: Path, options: ServiceOptions, *, tell_key: bool) -> int:
    """Run the stack in the foreground until asked to stop."""
    run_stack(
        folder,
        options,
        after_servers=lambda stack: service_parts(stack, options),
        on_ready=lambda: state.tell_new_key(folder) if tell_key else None,
    )
    return 0


def already_up(folder: Path, *, tell_key: bool) -> bool:
    """Say so if a supervisor runs on this folder."""
    if state.supervisor_pid(folder) is None:
        return False
    if tell_key and state.ready_pid(folder) is not None:
        state.tell_new_key(folder)  # nobody has heard it, if the first start was interrupted
    _tell(f"already up: {state.describe_stack(folder)}")
    return True


def down(folder: Path) -> int:
    """Stop the stack and wait until nothing of it is left."""
    deadline = time.monotonic() + _DOWN_WITHIN_SECONDS
    supervisor: psutil.Process | None = None
    while (pid := state.supervisor_pid(folder)) or (supervisor and _is_alive(supervisor)):
        if pid and (supervisor is None or pid != supervisor.pid):
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended by itself
                supervisor = psutil.Process(pid)
                supervisor.terminate()
        if time.monotonic() > deadline:
            left = pid or (supervisor and supervisor.pid)
            raise StackError(f"the supervisor with pid {left} has not stopped")
        time.sleep(0.1)
    _tell("down" if supervisor else "not up")
    return 0


def status(folder: Path) -> int:
    """Say whether the stack is up; exits 0 only if it is."""
    is_up = state.supervisor_pid(folder) is not None
    _tell(f"up: {state.describe_stack(folder)}" if is_up else "not up")
    return 0 if is_up else 1


def environment(folder: Path) -> int:
    """Print what leads to the servers of a stack, for a shell to evaluate."""
    if not (folder / STACK_NAME).exists():
        raise StackError(f"there is no stack in {folder}")
    for name, value in server_environment(folder, load_or_create(folder)).items():
        if name not in OF_ITS_PROCESSES:
            _tell(f"export {name}={shlex.quote(value)}")
    return 0


def demo(parent: Path, options: ServiceOptions) -> int:
    """Run the demo on a fresh stack, leave nothing, and exit as it did."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir=parent.resolve()))
    summary = folder / "summary.json"

    def services_and_program(stack: StackFile) -> list[Part]:
        program = Part(
            name="demo",
            command=(sys.executable, "-m", "services.local.demo"),
            environment={"NVAE_DEMO_SUMMARY": str(summary), "NVAE_API_KEY": stack.api_key},
            when_it_ends=WhenItEnds.STOP_STACK,
        )
        return [*service_parts(stack, options), program]

    try:
        status = run_stack(folder, options, after_servers=services_and_program)
        if summary.exists():
            _tell(summary.read_text())  # after everything has stopped: the very last line
        return status
    finally:
        shutil.rmtree(folder)


def run_stack(
    folder: Path,
    options: ServiceOptions,
    *,
    after_servers: Callable[[StackFile], Sequence[Part]],
    on_ready: Callable[[], None] = lambda: None,
) -> int:
    """Run the servers and these parts; the status of the program, or 128 + the signal."""
    folder = create_folder(folder)
    signals = Signals()
    with closing(state.hold_parent_lock(folder)):
        state.withdraw_ready(folder)
        stack = load_or_create(folder)
        supervisor = Supervisor(
            folder,
            stack_id=stack.stack_id,
            parts=[*server_parts(folder, stack), *after_servers(stack)],
            environment=inherited(
                server_environment(folder, stack) | service_environment(folder, options)
            ),
            signals=signals,
        )
        try:
            supervisor.start()
            if not signals.stop_requested():
                on_ready()
                state.publish_ready(folder, api_url(options))
            status = supervisor.watch()
            return 128 + signals.stopped_by if signals.stopped_by else status
        finally:
            state.withdraw_ready(folder)
            supervisor.stop()


def _is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs: it gives its lock back shortly before it ends."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")


def up_detached(folder: Path, arguments: Sequence[str]) -> int:
    """Start `python -m services.local ARGUMENTS` in its own session; return once it is up."""
    folder = create_folder(folder)
    log = folder / "logs" / "supervisor.log"
    with log.open("a") as output, log.open() as progress:
        progress.seek(0, 2)
        process = subprocess.Popen(
            [sys.executable, "-m", "services.local", *arguments, "--no-key"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            _follow(folder, process, progress)
        except KeyboardInterrupt:
            processes.stop(process, signal.SIGTERM, grace_seconds=120.0)
            raise
    state.tell_new_key(folder)
    sys.stdout.write(f"up: {state.describe_stack(folder)}\n")
    # It lives on; without this its Popen object would warn that it does.
    process.returncode = 0
    return 0


def _follow(folder: Path, process: subprocess.Popen[bytes], progress: TextIO) -> None:
    while state.ready_pid(folder) != process.pid:
        ended = process.poll() is not None
        sys.stderr.write(progress.read())
        sys.stderr.flush()
        if ended:
            raise StackError("the stack did not come up")
        time.sleep(0.1)
    sys.stderr.write(progress.read())
