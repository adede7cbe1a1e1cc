"""What `python -m services.local` does: up, down, status, environment and demo."""

import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from services.local import announcement, lifeline
from services.local.environment import (
    OF_ITS_PROCESSES,
    ServiceOptions,
    api_url,
    inherited,
    server_environment,
    service_environment,
)
from services.local.errors import StackError
from services.local.parts import Part, WhenItEnds
from services.local.signals import Signals
from services.local.stack import create_folder, server_parts, service_parts
from services.local.stack_file import STACK_NAME, StackFile, load_or_create
from services.local.supervisor import Supervisor

_DOWN_WITHIN_SECONDS = 120.0


def up(folder: Path, options: ServiceOptions) -> int:
    """Run the stack in the foreground until asked to stop."""
    announcement.tell_new_key(create_folder(folder))
    run_stack(folder, options, after_servers=lambda stack: service_parts(stack, options))
    return 0


def already_up(folder: Path) -> bool:
    """Say so if a supervisor runs on this folder."""
    if lifeline.holder(folder) is None:
        return False
    _tell(f"already up: {announcement.describe(folder)}")
    return True


def down(folder: Path) -> int:
    """Stop the stack and wait until nothing of it is left."""
    deadline = time.monotonic() + _DOWN_WITHIN_SECONDS
    told: int | None = None
    while pid := lifeline.holder(folder):
        if pid != told:
            os.kill(pid, signal.SIGTERM)
            told = pid
        if time.monotonic() > deadline:
            raise StackError(f"the supervisor with pid {pid} has not stopped")
        time.sleep(0.1)
    _tell("down" if told else "not up")
    return 0


def status(folder: Path) -> int:
    """Say whether the stack is up; exits 0 only if it is."""
    is_up = lifeline.holder(folder) is not None
    _tell(f"up: {announcement.describe(folder)}" if is_up else "not up")
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
) -> int:
    """Run the servers and these parts; the status of the program, or 128 + the signal."""
    folder = create_folder(folder)
    signals = Signals()
    with closing(lifeline.hold(folder)):
        announcement.withdraw(folder)
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
                announcement.publish(folder, api_url(options))
            status = supervisor.watch()
            return 128 + signals.stopped_by if signals.stopped_by else status
        finally:
            announcement.withdraw(folder)
            supervisor.stop()


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")
