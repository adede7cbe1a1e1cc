"""Which checkpoints of a run directory are kept."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from nvae_core.config import CheckpointPolicy


def saved_steps(folder: Path) -> list[int]:
    """Return the steps of the checkpoints in a folder, in order."""
    return sorted(int(path.name.removeprefix("step_")) for path in folder.glob("step_*"))


def outdated_steps(steps: Sequence[int], policy: CheckpointPolicy) -> list[int]:
    """Return which of the saved steps, in order, the policy does not keep."""
    return [step for step in steps[: -policy.keep_last] if not policy.is_milestone(step)]


def expendable_steps(steps: Sequence[int], policy: CheckpointPolicy) -> list[int]:
    """Return what to give up for room, first first: all but the newest, milestones last."""
    return sorted(steps[:-1], key=lambda step: (policy.is_milestone(step), step))


def drop_checkpoint(folder: Path, step: int) -> None:
    """Delete one checkpoint; a reader sees it whole or not at all."""
    path = folder / f"step_{step:08d}"
    shutil.rmtree(path.rename(path.with_name(f".dropped_{path.name}")))
