"""Jobs on a terminal: one line, one page, lists, and the live table."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from nvae_client.cli.output import (
    cut,
    pairs_table,
    plain_table,
    show_age,
    show_bytes,
    show_moment,
    show_number,
    show_seconds,
    show_value,
    sparkline,
)
from nvae_client.files import Artifact, Checkpoint
from nvae_client.job import Job
from nvae_client.models import Device

STYLES = {
    "queued": "yellow",
    "starting": "cyan",
    "running": "blue",
    "stopping": "magenta",
    "paused": "magenta",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "dim",
}
SHOWN_METRICS = ("loss", "kl", "reconstruction_loss", "learning_rate", "images_per_second")
Curves = Mapping[str, Sequence[float]]
TEXT_WIDTH = 64  # what is beside the two curves


def styled_status(status: str) -> str:
    """Return a status in its colour."""
    return f"[{STYLES.get(status, 'default')}]{status}[/]"


def percentage(job: Job) -> str:
    """Return how much of a job is done, if that is known."""
    step, num_steps = job.progress.step, job.progress.num_steps
    if job.status == "succeeded":
        return "100%"
    return f"{100 * step // num_steps}%" if step is not None and num_steps else ""


def describe_progress(job: Job) -> str:
    """Return step and loss of a running job, or why one does not run."""
    if job.status == "queued" and job.queue_position is not None:
        return f"position {job.queue_position}"
    parts = []
    if job.progress.step is not None:
        parts.append(f"{job.progress.step}/{job.progress.num_steps or '?'}")
    loss = (job.latest_metrics or {}).get("loss")
    if loss is not None:
        parts.append(f"loss {show_number(loss)}")
    return "  ".join(parts)


def headline(job: Job) -> str:
    """Return a line about a job: what it is, where it is, how far, why."""
    name = f" {job.name!r}" if job.name else ""
    line = f"{job.kind}{name} {job.status}"
    if details := describe_progress(job):
        line += f"  {details}"
    if job.finished_at and job.started_at:
        line += f"  in {show_seconds((job.finished_at - job.started_at).total_seconds())}"
    if job.message and job.status not in {"running", "succeeded"}:
        line += f": {job.message}"
    return line


def jobs_table(jobs: Sequence[Job], *, width: int) -> Table:
    """Return jobs as a table; a wide terminal has room for what they wait for or died of."""
    wide = ("reason",) if width >= 110 else ()
    table = plain_table(
        *("job", "kind", "status", "done", *wide, "age", "name"), right=["done"], flexible="name"
    )
    for job in jobs:
        reason = (job.reason or "",) if wide else ()
        table.add_row(
            job.id,
            job.kind.split("_")[0],
            styled_status(job.status),
            percentage(job),
            *reason,
            show_age(job.created_at),
            cut(job.name or ""),
        )
    return table


def job_page(
    job: Job, checkpoints: Sequence[Checkpoint], artifacts: Sequence[Artifact]
) -> RenderableType:
    """Return what there is to know about a job."""
    latest = job.latest_metrics or {}
    shown = {name: latest[name] for name in SHOWN_METRICS if name in latest}
    why = " ".join(part for part in (job.reason and f"({job.reason})", job.message) if part)
    step, num_steps = job.progress.step, job.progress.num_steps
    pairs = {
        "job": job.id,
        "name": escape(job.name or ""),
        "status": f"{styled_status(job.status)} {escape(why)}",
        "queue position": job.queue_position,
        "kind": job.kind,
        "progress": f"{step}/{num_steps or '?'} {percentage(job)}" if step is not None else "",
        "metrics": shown,
        "result": job.result,
        "parameters": job.num_parameters,
        "device": escape(show_device(job.device)),
        "resources": f"{job.num_nodes} × {job.num_slots} slots, priority {job.priority}",
        "attempts": job.num_attempts or None,
        "ran for": show_seconds(job.run_seconds) if job.run_seconds else "",
        "created": show_moment(job.created_at),
        "finished": show_moment(job.finished_at),
        "forked from": job.parent_id,
        "checkpoint": job.checkpoint_id,
        "tags": escape(show_value(job.tags)),
        "spec": {name: value for name, value in job.spec.items() if _is_telling(name, value)},
    }
    parts: list[RenderableType] = [pairs_table(pairs)]
    if checkpoints:
        parts += ["", checkpoints_table(checkpoints)]
    if artifacts:
        parts += ["", artifacts_table(artifacts)]
    return Group(*parts)


def show_device(device: Device | None) -> str:
    """Return the device, torch and CUDA in a line; nothing where they are not known."""
    if device is None:
        return ""
    versions = (("torch", device.torch), ("CUDA", device.cuda))
    return ", ".join([device.name, *(f"{name} {value}" for name, value in versions if value)])


def checkpoints_table(checkpoints: Sequence[Checkpoint]) -> Table:
    """Return checkpoints as a table."""
    table = plain_table("checkpoint", "step", "size", "status", "age", right=["step", "size"])
    for one in checkpoints:
        status = f"{one.status}, pinned" if one.pinned else one.status
        size = show_bytes(one.size_bytes)
        table.add_row(one.id, str(one.step), size, status, show_age(one.created_at))
    return table


def artifacts_table(artifacts: Sequence[Artifact]) -> Table:
    """Return the files of a job as a table."""
    table = plain_table("file", "size", "type", right=["size"])
    for one in artifacts:
        table.add_row(escape(one.name), show_bytes(one.size_bytes), one.content_type)
    return table


def _is_telling(name: str, value: object) -> bool:
    """Whether a field of a spec says what the rest of the page does not."""
    elsewhere = {"kind", "name", "tags", "priority", "checkpoint_id", "resources"}
    return name not in elsewhere and value not in (None, {}, [], "")


def live_table(
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
