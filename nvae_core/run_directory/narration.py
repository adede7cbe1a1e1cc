"""What a run reports, in words: the log that people read."""

from datetime import UTC, datetime

from nvae_core.run_directory.progress import (
    CheckpointLine,
    MetricsLine,
    NoticeLine,
    ProgressLine,
    StartedLine,
)

TOLD = {  # those of a line's metrics that it has, with their digits
    "loss": ".2f",
    "negative_elbo": ".2f",
    "importance_weighted_nll": ".2f",
    "bits_per_dim": ".3f",
    "kl": ".2f",
    "learning_rate": ".2g",
    "images_per_second": ".0f",
}


def narrate(line: ProgressLine) -> str:
    """Return a progress line as one line of text, with its time in UTC."""
    at = datetime.fromtimestamp(line.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    step = "" if isinstance(line, StartedLine) or line.step is None else f"step {line.step}: "
    return f"{at} {step}{_tell(line)}"


def _tell(line: ProgressLine) -> str:
    if isinstance(line, StartedLine):
        size = f", {line.num_parameters:,} parameters" if line.num_parameters else ""
        return f"begins at {line.first_step} of {line.num_steps}{size}"
    if isinstance(line, MetricsLine):
        told = [
            f"{name} {line.values[name]:{digits}}"
            for name, digits in TOLD.items()
            if name in line.values
        ]
        return ", ".join(told) or ", ".join(f"{k} {v:g}" for k, v in line.values.items())
    if isinstance(line, NoticeLine):
        return f"{line.name}: {line.message}"
    if isinstance(line, CheckpointLine):
        return f"checkpoint {line.path}"
    return f"wrote {line.name}"
