"""Keeps the parts of a stack running, and stops them in order when asked to."""

import contextlib
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from services.local import processes
from services.local.processes import Part, WhenItEnds, bring_up, refuse_taken_ports, take_down
from services.local.state import StackError

_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FIRST_DELAY_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 10.0
_STEADY_AFTER_SECONDS = 30.0
_LOOK_EVERY_SECONDS = 1.0
_SAVE_WITHIN_SECONDS = 20.0  # training saves a checkpoint, and its runner uploads it


class Signals:
    """Whether we were asked to stop, and waiting that ends as soon as a signal comes."""

    def __init__(self) -> None:
        self.stopped_by: signal.Signals | None = None
        self._awake, self._waker = socket.socketpair()
        self._awake.setblocking(False)
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        # Without a handler the end of a child would not wake us.
        for signal_number in (*_STOP, signal.SIGCHLD):
            signal.signal(signal_number, self._remember)

    def stop_requested(self) -> bool:
        """Whether SIGINT, SIGTERM or SIGHUP has come."""
        return self.stopped_by is not None

    def wait(self, seconds: float) -> None:
        """Sleep until a signal comes, or a child ends, or the time is over."""
        readable, _, _ = select.select([self._awake], [], [], seconds)
        if readable:
            self._awake.recv(4096)

    def _remember(self, signal_number: int, _frame: FrameType | None) -> None:
        if signal_number in _STOP and self.stopped_by is None:
            self.stopped_by = signal.Signals(signal_number)


def say(text: str) -> None:
    """Tell the person at the terminal; stdout belongs to the program we may run for them."""
    with contextlib.suppress(OSError):  # a closed terminal must not stop us from stopping
        sys.stderr.write(text)
        sys.stderr.flush()


@dataclass
class _Running:
    part: Part
    process: subprocess.Popen[bytes]
    started_at: float
    delay_seconds: float = _FIRST_DELAY_SECONDS
    restart_at: float | None = None


class Supervisor:
    """Runs the parts of one stack, from the main thread, while its caller holds the parent lock."""

    def __init__(
        self,
        folder: Path,
        *,
        stack_id: str,
        parts: Sequence[Part],
        environment: Mapping[str, str],
        signals: Signals,
    ) -> None:
        self._folder = folder
        self._stack_id = stack_id
        self._parts = parts
        self._environment = environment
        self._signals = signals
        self._running: list[_Running] = []

    def start(self) -> None:
        """Start every part in order; returns early when asked to stop."""
        # What a supervisor that was killed may have left.
        processes.end_leftovers(lambda: processes.leftover_processes(self._folder, self._stack_id))
        refuse_taken_ports(self._parts)
        for part in self._parts:
            if self._signals.stop_requested():
                return
            process = self._bring_up(part)
            # One that was to run once is still there when we were asked to stop meanwhile.
            if part.when_it_ends is not WhenItEnds.CONTINUE or process.poll() is None:
                self._running.append(_Running(part, process, time.monotonic()))

    def watch(self) -> int:
        """Restart what dies, until asked to stop (0) or the program ends (its status)."""
        while not self._signals.stop_requested():
            for running in self._running:
                status = running.process.poll()
                if status is None:
                    continue
                if running.part.when_it_ends is WhenItEnds.STOP_STACK:
                    return status if status >= 0 else 128 - status
                self._revive(running, status)
            self._signals.wait(self._seconds_to_next_restart())
        return 0

    def stop(self) -> None:
        """Stop everything, last part first, and see that nothing is left."""
        if self._signals.stopped_by:
            say(f"stopping after {self._signals.stopped_by.name}\n")
        servers = [running for running in self._running if running.part.is_server]
        services = [running for running in self._running if not running.part.is_server]
        self._take_down(services)
        # Runners outlive their worker by design, and still want the servers to say goodbye.
        runners = processes.end_leftovers(
            lambda: processes.service_processes(self._folder, self._stack_id),
            grace_seconds=_SAVE_WITHIN_SECONDS,
        )
        if runners:
            say(f"ended {len(runners)} processes of running jobs\n")
        self._take_down(servers)
        processes.end_leftovers(lambda: processes.leftover_processes(self._folder, self._stack_id))

    def _bring_up(self, part: Part) -> subprocess.Popen[bytes]:
        on_terminal = part.when_it_ends is WhenItEnds.STOP_STACK
        began_at = time.monotonic()
        if not on_terminal:
            say(f"starting {part.name} … ")
        try:
            process = bring_up(
                part,
                environment=self._environment,
                logs=self._folder / "logs",
                give_up=self._signals.stop_requested,
            )
        except StackError:
            say("failed\n")
            raise
        if not on_terminal:
            say(f"{self._outcome(part)} ({time.monotonic() - began_at:.1f} s)\n")
        return process

    def _outcome(self, part: Part) -> str:
        if self._signals.stop_requested():
            return "interrupted"
        return "done" if part.when_it_ends is WhenItEnds.CONTINUE else "ready"

    def _revive(self, running: _Running, status: int) -> None:
        now = time.monotonic()
        if running.restart_at is None:
            if now - running.started_at > _STEADY_AFTER_SECONDS:
                running.delay_seconds = _FIRST_DELAY_SECONDS
            delay = running.delay_seconds
            running.restart_at = now + delay
            running.delay_seconds = min(2 * delay, _LONGEST_DELAY_SECONDS)
            say(f"{running.part.name} ended with status {status}; next start in {delay:.1f} s\n")
        elif now >= running.restart_at:
            self._restart(running)

    def _restart(self, running: _Running) -> None:
        running.restart_at = None
        try:
            if running.part.folder:
                # The backends of a killed postmaster hold its shared memory until they notice.
                home = running.part.folder
                processes.end_leftovers(lambda: processes.server_processes(home))
            running.process = self._bring_up(running.part)
        except (StackError, OSError) as error:  # a full disk may have room again next time
            say(f"{error}\n")
        running.started_at = time.monotonic()

    def _take_down(self, several: Sequence[_Running]) -> None:
        for running in reversed(several):
            if running.process.poll() is None:
                began_at = time.monotonic()
                take_down(running.part, running.process)
                say(f"stopped {running.part.name} ({time.monotonic() - began_at:.1f} s)\n")

    def _seconds_to_next_restart(self) -> float:
        waits = [
            running.restart_at - time.monotonic()
            for running in self._running
            if running.restart_at is not None
        ]
        return max(0.0, min([_LOOK_EVERY_SECONDS, *waits]))
