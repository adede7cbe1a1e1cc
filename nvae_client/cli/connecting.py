"""What each command runs in: a client, a terminal, and an end that says what went wrong."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import typer

from nvae_client.cli import exits
from nvae_client.cli.explaining import explain
from nvae_client.cli.terminal import Terminal
from nvae_client.client import NvaeClient
from nvae_client.errors import JobFailed, NvaeError, ServiceError, ServiceUnreachable
from nvae_client.retrying import RetryPolicy

PATIENCE_SECONDS = 5.0  # of a person who waits for an answer
FOLLOWING_PATIENCE_SECONDS = 600.0  # of one who follows a job: the service may be restarted


@dataclass(frozen=True)
class Session:
    """What a command works with; hints are shown with the error, if one comes."""

    client: NvaeClient
    terminal: Terminal
    hints: list[str] = field(default_factory=list)


@contextmanager
def connected(context: typer.Context, as_json: bool) -> Iterator[Session]:
    """Connect; what fails inside is explained, and ends the command with its exit code."""
    terminal = Terminal(as_json)
    try:
        client = NvaeClient(context.obj, retry=RetryPolicy(limit_seconds=PATIENCE_SECONDS))
    except ValueError as error:
        terminal.err.print(f"[red]error:[/red] {error}")
        raise typer.Exit(exits.USAGE) from error
    session = Session(client, terminal)
    with client:
        try:
            yield session
        except NvaeError as error:
            _tell(session, error)
            raise typer.Exit(_code(error)) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            terminal.err.print(f"[red]error:[/red] {error}", markup=True, soft_wrap=True)
            raise typer.Exit(exits.FAILED) from error
        except KeyboardInterrupt as error:
            terminal.note("\ninterrupted")
            raise typer.Exit(exits.INTERRUPTED) from error


def _tell(session: Session, error: NvaeError) -> None:
    err = session.terminal.err
    if session.terminal.as_json:
        err.print(json.dumps(_as_json(error)), markup=False, soft_wrap=True)
        return
    first, *others = [*explain(error, session.client.url), *session.hints]
    err.print("[red]error:[/red] ", end="")
    err.print(first, markup=False, soft_wrap=True)
    for line in others:
        err.print(f"  {line}", markup=False, soft_wrap=True)


def _as_json(error: NvaeError) -> dict[str, object]:
    if isinstance(error, ServiceError):
        return {"error": error.to_json()}
    if isinstance(error, JobFailed):
        job = error.job
        return {"error": {"code": f"job_{job.status}", "detail": str(error), "job": job.id}}
    code = "unreachable" if isinstance(error, ServiceUnreachable) else "damaged_download"
    return {"error": {"code": code, "detail": str(error)}}


def _code(error: NvaeError) -> int:
    if isinstance(error, JobFailed):
        return exits.exit_code(error.job.status)
    if isinstance(error, ServiceError):
        return exits.REFUSED
    return exits.UNREACHABLE if isinstance(error, ServiceUnreachable) else exits.FAILED
