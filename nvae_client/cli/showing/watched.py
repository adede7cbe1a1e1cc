"""The live table: where jobs are, and the curves of their loss and KL."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape

from nvae_client.cli.showing.amounts import show_number, show_seconds
from nvae_client.cli.showing.progress import percentage, styled_status
from nvae_client.cli.showing.sparklines import sparkline
from nvae_client.cli.showing.tables import cut, plain_table
from nvae_client.job import Job

Curves = Mapping[str, Sequence[float]]
TEXT_WIDTH = 64  # what is beside the two curves


def watched_table(
    jobs: Mapping[str, Job], curves: Mapping[str, Curves], *, width: int, note: str
) -> RenderableType:
    """Return a row for each job, a line for each that says why it does not run, and the note."""
    spark = max(6, min(32, (width - TEXT_WIDTH) // 2))
    table = plain_table(
        *("job", "status", "done", "step", "ran", "loss", "", "kl", ""),
        right=["done", "step", "ran", "loss", "kl"],
        flexible="job",
    )
    for job in jobs.values():
        latest, known = job.latest_metrics or {}, curves.get(job.id, {})
        table.add_row(
            cut(job.name or f"{job.kind.split('_')[0]} …{job.id[-6:]}"),
            styled_status(job.status),
            percentage(job),
            str(job.progress.step or ""),
            show_seconds(job.run_seconds) if job.run_seconds else "",
            show_number(latest.get("loss")),
            f"[cyan]{sparkline(known.get('loss', ()), spark)}[/]",
            show_number(latest.get("kl")),
            f"[magenta]{sparkline(known.get('kl', ()), spark)}[/]",
        )
    reasons = [
        f"[dim]{escape(job.name or job.id)}: {escape(job.message)}[/]"
        for job in jobs.values()
        if job.message and job.status != "succeeded"
    ]
    return Group(table, *reasons, *([f"[yellow]{escape(note)}[/]"] if note else []))
