"""Signals as flags: a handler that does nothing else cannot interrupt us at a bad moment."""

import select
import signal
import socket
from types import FrameType

_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
