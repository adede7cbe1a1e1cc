"""Submitting and following a job, and downloads with a bar; Ctrl-C lets go of a job."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from nvae_client.cli.job_tables import describe_progress, headline
from nvae_client.cli.session import INTERRUPTED, RETRY_SECONDS_WHILE_FOLLOWING, Session, suggest
from nvae_client.errors import ServiceError
from nvae_client.files import Artifact, Checkpoint, safe_path
from nvae_client.job import Job

LOOK_SECONDS = 1.0
QUIET_SECONDS = 30.0  # between two lines about a job that only gets further


def submit(session: Session, spec: Mapping[str, Any]) -> Job:
    """Submit a job; if a name in it is not known, the nearest ones are hinted at."""
    try:
        return session.client.jobs.submit(spec)
    except ServiceError as error:
        session.hints.extend(suggest(session.client, spec, error.pointers))
        raise


def submitted(session: Session, job: Job, *, follow: bool) -> None:
    """Tell of a new job, and follow it if that is wanted; its id is on standard output."""
    if not session.terminal.as_json:
        session.terminal.line(job.id)
    if follow:
        job = follow_job(session, job)
    else:
        session.terminal.note(f"{job.kind} {job.status}; follow it: nvae watch {job.id}")
    if session.terminal.as_json:
        session.terminal.json(job)


def follow_job(session: Session, job: Job) -> Job:
    """Return the job once it has succeeded, and show meanwhile how far it is.

    Raises:
        JobFailed: it ended otherwise.
        typer.Exit: the person has seen enough.
    """
    with detaching(session, job):
        if session.terminal.err.is_terminal and not session.terminal.as_json:
            return _show_bar(session, job)
        return _print_lines(session, job)


@contextmanager
def detaching(session: Session, job: Job) -> Iterator[None]:
    """Let Ctrl-C end the command, and say how to come back."""
    try:
        yield
    except KeyboardInterrupt as error:
        session.terminal.note(
            f"\ndetached; {job.id} goes on\n"
            f"  come back:  nvae watch {job.id}\n"
            f"  stop it:    nvae cancel {job.id}"
        )
        raise typer.Exit(INTERRUPTED) from error


def _show_bar(session: Session, job: Job) -> Job:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=session.terminal.err, transient=True) as progress:
        bar = progress.add_task(job.status, total=None, state="")

        def show(seen: Job) -> None:
            progress.update(
                bar,
                description=seen.status,
                completed=seen.progress.step or 0,
                total=seen.progress.num_steps,
                state=describe_progress(seen),
            )

        ended = job.wait(
            on_change=show,
            look_seconds=LOOK_SECONDS,
            patience_seconds=RETRY_SECONDS_WHILE_FOLLOWING,
        )
    session.terminal.note(headline(ended))
    return ended


def _print_lines(session: Session, job: Job) -> Job:
    last_note: tuple[str, float] = ("", 0.0)

    def tell(seen: Job) -> None:
        nonlocal last_note
        if seen.status != last_note[0] or time.monotonic() > last_note[1] + QUIET_SECONDS:
            session.terminal.note(headline(seen))
            last_note = (seen.status, time.monotonic())

    return job.wait(
        on_change=tell, look_seconds=LOOK_SECONDS, patience_seconds=RETRY_SECONDS_WHILE_FOLLOWING
    )


def save_artifacts(session: Session, artifacts: Sequence[Artifact], output: Path) -> list[Path]:
    """Download a job's files: one to the output itself, several into it as a folder."""
    saved = []
    with _bar(session) as progress:
        for artifact in artifacts:
            is_only = len(artifacts) == 1 and not output.is_dir()
            target = output if is_only else output / safe_path(artifact.name)
            bar = progress.add_task(artifact.name, total=artifact.size_bytes)
            tell = partial(_advance, progress, bar)
            saved.append(artifact.download(target, on_progress=tell))
    return saved


def save_checkpoint(
    session: Session, checkpoint: Checkpoint, folder: Path, *, resume: bool
) -> Path:
    """Download a checkpoint into a folder."""
    with _bar(session) as progress:
        bars = {
            file.name: progress.add_task(file.name, total=file.size_bytes)
            for file in checkpoint.files
        }
        return checkpoint.download(
            folder,
            resume=resume,
            on_progress=lambda name, done: progress.update(bars[name], completed=done),
        )


def _advance(progress: Progress, bar: TaskID, done: int) -> None:
    progress.update(bar, completed=done)


@contextmanager
def _bar(session: Session) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
    )
    hidden = session.terminal.as_json or not session.terminal.err.is_terminal
    with Progress(*columns, console=session.terminal.err, disable=hidden) as progress:
        yield progress
