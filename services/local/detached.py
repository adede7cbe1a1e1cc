"""Starting the supervisor in the background and waiting until the stack is up."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from services.local import announcement, processes
from services.local.errors import StackError
from services.local.stack import create_folder


def up_detached(folder: Path, arguments: Sequence[str]) -> int:
    """Start `python -m services.local ARGUMENTS` in its own session; return once it is up."""
    folder = create_folder(folder)
    announcement.tell_new_key(folder)
    log = folder / "logs" / "supervisor.log"
    with log.open("a") as output, log.open() as progress:
        progress.seek(0, 2)
        process = subprocess.Popen(
            [sys.executable, "-m", "services.local", *arguments],
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
    sys.stdout.write(f"up: {announcement.describe(folder)}\n")
    # It lives on; without this its Popen object would warn that it does.
    process.returncode = 0
    return 0


def _follow(folder: Path, process: subprocess.Popen[bytes], progress: TextIO) -> None:
    while announcement.published_by(folder) != process.pid:
        ended = process.poll() is not None
        sys.stderr.write(progress.read())
        sys.stderr.flush()
        if ended:
            raise StackError("the stack did not come up")
        time.sleep(0.1)
    sys.stderr.write(progress.read())
