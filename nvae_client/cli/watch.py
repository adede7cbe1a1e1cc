"""`nvae watch`: jobs in a live table, until they have ended."""

import time
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.live import Live

from nvae_client._transport import RETRIED_STATUSES
from nvae_client.cli import options
from nvae_client.cli.job_tables import Curves, headline, live_table
from nvae_client.cli.session import (
    CANCELLED,
    FAILED,
    INTERRUPTED,
    Session,
    connected,
    exit_code,
    leave,
)
from nvae_client.errors import NvaeError, ServiceError
from nvae_client.job import Job

NUM_POINTS = 200
CURVES = ("loss", "kl")


def watch(
    context: options.Context,
    *,
    jobs: Annotated[
        list[str] | None, typer.Argument(metavar="JOB", help="All that have not ended if none.")
    ] = None,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    as_json: options.AsJson = False,
) -> None:
    """Watch jobs until they have ended; Ctrl-C stops watching, and no job."""
    with connected(context, as_json) as session:
        ids = jobs or [job.id for job in session.client.jobs.list() if not job.has_ended][::-1]
        if not ids:
            session.terminal.note("no job is queued or running")
            return
        watcher = _Watcher(session, ids)
        try:
            watcher.run(every)
        except KeyboardInterrupt as error:
            session.terminal.note(f"\nthe jobs go on; come back: nvae watch {' '.join(jobs or ())}")
            raise typer.Exit(INTERRUPTED) from error
        leave(_worst(watcher.jobs))


class _Watcher:
    """Looks at jobs, again and again."""

    def __init__(self, session: Session, ids: list[str]) -> None:
        self._session = session
        self._curves: dict[str, Curves] = {}
        self._note = ""
        self.jobs: dict[str, Job] = {job_id: session.client.jobs.get(job_id) for job_id in ids}

    def run(self, every: float) -> None:
        """Show the jobs until all have ended."""
        terminal = self._session.terminal
        if terminal.as_json or not terminal.out.is_terminal:
            self._print_changes(every)
            return
        with Live(console=terminal.out, auto_refresh=False) as live:
            while True:
                width = terminal.out.width
                shown = live_table(self.jobs, self._curves, width=width, note=self._note)
                live.update(shown, refresh=True)
                if self._have_ended():
                    return
                time.sleep(every)
                self._look()

    def _print_changes(self, every: float) -> None:
        reported: dict[str, Job] = {}
        while True:
            for job_id, job in self.jobs.items():
                if reported.get(job_id) != job:
                    self._print(job)
                    reported[job_id] = job
            if self._have_ended():
                return
            time.sleep(every)
            self._look()

    def _print(self, job: Job) -> None:
        if self._session.terminal.as_json:
            self._session.terminal.json(job)
        else:
            self._session.terminal.line(f"{job.id}  {headline(job)}")

    def _look(self) -> None:
        try:
            for job_id, job in self.jobs.items():
                if not job.has_ended:
                    self.jobs[job_id] = job.refresh()
                    self._read_curves(self.jobs[job_id])
            self._note = ""
        except NvaeError as error:
            if isinstance(error, ServiceError) and error.status not in RETRIED_STATUSES:
                raise
            # It may be restarted; what is shown is what was seen last.
            self._note = f"the service does not answer ({error}); trying again"

    def _read_curves(self, job: Job) -> None:
        if job.kind == "train" and job.latest_metrics and self._session.terminal.out.is_terminal:
            found = job.metrics(names=CURVES, max_points=NUM_POINTS)
            self._curves[job.id] = {name: columns["value"] for name, columns in found.items()}

    def _have_ended(self) -> bool:
        return all(job.has_ended for job in self.jobs.values())


def _worst(jobs: Mapping[str, Job]) -> int:
    codes = {exit_code(job.status) for job in jobs.values()}
    return next((code for code in (FAILED, CANCELLED) if code in codes), 0)
