"""Running commands, and telling what was run, how long it took and what it answered."""

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


class CommandFailed(Exception):
    """A command ended with another status than 0; its output is in the message."""


def run(
    *words: str,
    environment: Mapping[str, str],
    within_seconds: float = 600.0,
    show: bool = True,
) -> str:
    """Run a command in the repository and return its standard output.

    Raises:
        CommandFailed: its status is not 0.
    """
    started_at = time.monotonic()
    ended = subprocess.run(
        words,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=within_seconds,
        check=False,
    )
    seconds = time.monotonic() - started_at
    if show:
        tell(f"$ {' '.join(words)}   [{seconds:.1f} s, status {ended.returncode}]")
    if ended.returncode != 0:
        raise CommandFailed(
            f"{words[:6]} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}"
        )
    return ended.stdout


def tell(line: str) -> None:
    """Add a line to the transcript."""
    print(f"{time.strftime('%H:%M:%S', time.gmtime())} {line}", flush=True)
