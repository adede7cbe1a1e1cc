"""How far a job is, in one line."""

from nvae_client.cli.showing.amounts import show_number, show_seconds
from nvae_client.job import Job

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
