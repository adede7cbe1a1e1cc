"""Exit codes: they say how the job ended, or what stood in the way."""

import typer

SUCCEEDED = 0
FAILED = 1
USAGE = 2
CANCELLED = 3
REFUSED = 4
UNREACHABLE = 5
INTERRUPTED = 130

_OF_STATUS = {"succeeded": SUCCEEDED, "failed": FAILED, "cancelled": CANCELLED}


def exit_code(status: str) -> int:
    """Return the exit code for a job that ended so."""
    return _OF_STATUS[status]


def leave(code: int) -> None:
    """End the command with this code, unless it is that of success.

    Raises:
        typer.Exit: there is something to tell.
    """
    if code != SUCCEEDED:
        raise typer.Exit(code)
