"""`nvae logs` and `nvae events`."""

from typing import Annotated

import typer
from rich.text import Text

from nvae_client.answers import Event
from nvae_client.cli import options
from nvae_client.cli.connecting import Session, connected
from nvae_client.cli.following import detaching
from nvae_client.cli.showing.amounts import show_moment
from nvae_client.cli.showing.tables import show_value
from nvae_client.job import Job
from nvae_client.job_streams import LogChoice

Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")]


def logs(
    context: options.Context,
    *,
    job: options.JobId,
    follow: Follow = False,
    rank: Annotated[int, typer.Option(min=0, help="Which process of the training.")] = 0,
    attempt: Annotated[int | None, typer.Option(min=1, help="The newest if not given.")] = None,
    tail: Annotated[int, typer.Option(min=0, help="How many of the last lines.")] = 200,
    as_json: options.AsJson = False,
) -> None:
    """Print what a job has logged."""
    choice = LogChoice(rank=rank, tail=tail)
    if attempt is not None:
        choice["attempt"] = attempt
    with connected(context, as_json) as session:
        found = session.client.jobs.get(job)
        with detaching(session, found):
            _print_log(session, found, choice, follow=follow)


def events(
    context: options.Context,
    *,
    job: options.JobId,
    follow: Follow = False,
    as_json: options.AsJson = False,
) -> None:
    """Print what happened to a job."""
    with connected(context, as_json) as session:
        found = session.client.jobs.get(job)
        with detaching(session, found):
            for event in found.events(follow=follow):
                if as_json:
                    session.terminal.json(event)
                else:
                    session.terminal.out.print(_event_line(event), soft_wrap=True)


def _print_log(session: Session, job: Job, choice: LogChoice, *, follow: bool) -> None:
    attempt: int | None = None
    at_start = True
    for piece in job.logs(follow=follow, **choice):
        if session.terminal.as_json:
            session.terminal.json(piece)
            continue
        if attempt not in {None, piece.attempt}:
            session.terminal.note(("" if at_start else "\n") + f"— attempt {piece.attempt} —")
        attempt = piece.attempt
        session.terminal.write(piece.text)
        at_start = piece.text.endswith("\n")
    if not at_start:
        session.terminal.line("")


def _event_line(event: Event) -> Text:
    return Text.assemble(
        (show_moment(event.at), "dim"), f"  {event.type:<12}  ", show_value(event.data)
    )
