"""What each command runs in: a client, a terminal, and an exit code that says how it ended."""

import difflib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import typer
from pydantic import BaseModel
from rich.console import Console, RenderableType

from nvae_client._transport import KEY_VARIABLE, URL_VARIABLE, RetryPolicy
from nvae_client.client import NvaeClient
from nvae_client.errors import UNEXPECTED_ANSWER, NvaeError, ServiceError, ServiceUnreachable
from nvae_client.job import JobFailed

SUCCEEDED = 0
FAILED = 1
USAGE = 2
CANCELLED = 3
REFUSED = 4
UNREACHABLE = 5
INTERRUPTED = 130
_OF_STATUS = {"succeeded": SUCCEEDED, "failed": FAILED, "cancelled": CANCELLED}
WIDTH_OF_FILES = 250
ADVICE = {
    UNEXPECTED_ANSWER: f"Is that an NVAE service? {URL_VARIABLE} or --url says where it is.",
    "unauthenticated": f"Put a key into {KEY_VARIABLE}. A local stack keeps its first one in the "
    "file api_key of its folder: "
    f"export {KEY_VARIABLE}=$(cat .local/stack/api_key)",
    "forbidden": "Ask who runs the service for a key with that scope: nvae keys create",
    "unavailable": "Try again soon.",
}
OVERRIDES = "/overrides"
RETRY_SECONDS = 5.0  # of a person who waits for an answer
RETRY_SECONDS_WHILE_FOLLOWING = 600.0  # of one who follows a job: the service may be restarted


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


def console_of_results() -> Console:
    """Return a console that cuts nothing off where the reader is a program or a file."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        return Console(highlight=False, width=WIDTH_OF_FILES)
    return console


@dataclass(frozen=True)
class Terminal:
    """The two streams, and whether results are for a program."""

    as_json: bool
    out: Console = field(default_factory=console_of_results)
    err: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    def result(self, content: Any, shown: RenderableType) -> None:
        """Print a result: as JSON for programs, else as it is shown to people."""
        if self.as_json:
            self.json(content)
        else:
            self.out.print(shown, soft_wrap=isinstance(shown, str))  # a path stays whole

    def json(self, content: Any) -> None:
        """Print one line of JSON."""
        self.write(json.dumps(plain(content), ensure_ascii=False) + "\n")

    def line(self, text: str) -> None:
        """Print a line as it is, however long."""
        self.write(text + "\n")

    def write(self, text: str) -> None:
        """Print text as it is, at once."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Tell the person at the terminal something; programs are not told."""
        if not self.as_json:
            self.err.print(text, markup=False, soft_wrap=True)


def plain(content: Any) -> Any:
    """Return answers as what JSON has."""
    if isinstance(content, BaseModel):
        return content.model_dump(mode="json")
    if isinstance(content, list | tuple):
        return [plain(item) for item in content]
    if isinstance(content, dict):
        return {key: plain(value) for key, value in content.items()}
    return content


def explain(error: NvaeError, url: str) -> Iterator[str]:
    """Yield lines for a person; the first one says what happened."""
    if isinstance(error, ServiceUnreachable):
        yield f"no answer from {url}: {error}"
        yield f"Is the service up (make up)? {URL_VARIABLE} or --url says where it is."
    elif isinstance(error, JobFailed):
        job = error.job
        yield f"job {job.id} {job.status}" + (f" ({job.reason})" if job.reason else "")
        if job.message:
            yield job.message
        yield f"Its log: nvae logs {job.id}"
    elif isinstance(error, ServiceError):
        yield from _explain_refusal(error)
    else:
        yield str(error)


def _explain_refusal(error: ServiceError) -> Iterator[str]:
    if error.pointers:
        yield "the service refused this"
        for pointer, message in error.pointers.items():
            yield f"{pointer or '/'}: {message}"
    else:
        yield error.detail
    if error.code == "rate_limited" and error.retry_after_seconds is not None:
        yield f"Try again in {error.retry_after_seconds:.0f} s."
    if advice := ADVICE.get(error.code):
        yield advice
    if error.status >= 500 and error.request_id:
        yield f"request {error.request_id}"


def suggest(client: NvaeClient, spec: Mapping[str, Any], pointers: Iterable[str]) -> list[str]:
    """Return hints about the names in a spec that are not known, at these pointers.

    None if the service cannot be asked: what is wrong was said already.
    """
    try:
        return [*_hints(client, spec, {*pointers})]
    except NvaeError:
        return []


def _hints(client: NvaeClient, spec: Mapping[str, Any], pointers: set[str]) -> Iterator[str]:
    if "/preset" in pointers:
        names = [preset.name for preset in client.presets.list()]
        yield from _nearest("preset", spec.get("preset"), names, "nvae presets")
    if "/dataset" in pointers:
        sets = [dataset.name for dataset in client.datasets.list() if dataset.status == "ready"]
        yield from _nearest(
            "data set that is ready", spec.get("dataset"), sets, "nvae datasets list"
        )
    in_overrides = any(pointer.startswith(OVERRIDES) for pointer in pointers)
    if in_overrides and (fields := _fields(client, spec.get("preset"))):
        for name in spec.get("overrides", {}):
            if name not in fields:
                yield from _nearest("override", name, fields, f"nvae presets {spec['preset']}")


def _fields(client: NvaeClient, preset_name: object) -> list[str]:
    for preset in client.presets.list():
        if preset.name == preset_name:
            model = [f"model.{name}" for name in preset.model]
            return [*model, *(f"optimization.{name}" for name in preset.optimization)]
    return []


def _nearest(word: str, value: object, known: Iterable[str], listed_by: str) -> Iterator[str]:
    names = [*known]
    if value in names:
        return
    near = difflib.get_close_matches(str(value), names, n=3, cutoff=0.5)
    if near:
        yield f"The nearest {word}: {', '.join(near)}. All of them: {listed_by}"
    elif names:
        yield f"There is no such {word}. All of them: {listed_by}"
    else:
        yield f"There is no {word} yet."


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
        client = NvaeClient(context.obj, retry=RetryPolicy(limit_seconds=RETRY_SECONDS))
    except ValueError as error:
        terminal.err.print(f"[red]error:[/red] {error}")
        raise typer.Exit(USAGE) from error
    session = Session(client, terminal)
    with client:
        try:
            yield session
        except NvaeError as error:
            _tell_error(session, error)
            raise typer.Exit(_code(error)) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            terminal.err.print(f"[red]error:[/red] {error}", markup=True, soft_wrap=True)
            raise typer.Exit(FAILED) from error
        except KeyboardInterrupt as error:
            terminal.note("\ninterrupted")
            raise typer.Exit(INTERRUPTED) from error


def _tell_error(session: Session, error: NvaeError) -> None:
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
        return exit_code(error.job.status)
    if isinstance(error, ServiceError):
        return REFUSED
    return UNREACHABLE if isinstance(error, ServiceUnreachable) else FAILED
