"""Which stored checkpoints are not needed any more: a pure function of a job's checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from nvae_core.config import CheckpointPolicy
from services.domain.states import CheckpointStatus

MIN_KEPT_UNFINISHED = 2  # a retry may go back to the last but one


class GarbageReason(StrEnum):
    """Why something stored is deleted."""

    OUTDATED = "outdated"  # newer ones are kept
    SUPERSEDED = "superseded"
    CORRUPT = "corrupt"
    MARKED_BEFORE = "marked_before"  # by a user, or by a run that did not get to its files
    UNNAMED = "unnamed"  # no row names it
    UNFINISHED_UPLOAD = "unfinished_upload"


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """Something in the store that nobody needs: the id of a checkpoint, or a key."""

    kind: Literal["checkpoint", "object", "upload"]
    name: str
    reason: GarbageReason
    size_bytes: int | None  # an upload does not tell


@dataclass(frozen=True, kw_only=True)
class StoredCheckpoint:
    """What retention needs to know of a checkpoint."""

    id: str
    step: int
    status: CheckpointStatus
    pinned: bool
    is_read: bool  # by a job that has not ended
    unchanged_seconds: float  # since its status changed


@dataclass(frozen=True, kw_only=True)
class StoredCheckpoints:
    """The checkpoints of a job that are not deleted, and what it said about keeping them."""

    job_id: str
    has_ended: bool
    policy: CheckpointPolicy
    checkpoints: Sequence[StoredCheckpoint]


def find_garbage(stored: StoredCheckpoints, *, grace_seconds: float) -> dict[str, GarbageReason]:
    """Return the ids of the checkpoints to delete, and why.

    The newest committed ones stay, as many as the policy says, and milestones; never goes what is
    pinned, or read by a job that has not ended.

    Args:
        stored: of one job.
        grace_seconds: for how long superseded and corrupt ones stay, so that somebody can look.
    """
    free = [item for item in stored.checkpoints if not (item.pinned or item.is_read)]
    outdated = _outdated_steps(stored)
    reasons = {}
    for item in free:
        if item.status == CheckpointStatus.COMMITTED and item.step in outdated:
            reasons[item.id] = GarbageReason.OUTDATED
        elif item.unchanged_seconds < grace_seconds:
            continue
        elif item.status == CheckpointStatus.SUPERSEDED:
            reasons[item.id] = GarbageReason.SUPERSEDED
        elif item.status == CheckpointStatus.CORRUPT:
            reasons[item.id] = GarbageReason.CORRUPT
    return reasons


def _outdated_steps(stored: StoredCheckpoints) -> set[int]:
    steps = sorted(
        item.step for item in stored.checkpoints if item.status == CheckpointStatus.COMMITTED
    )
    num_kept = max(stored.policy.keep_last, 1 if stored.has_ended else MIN_KEPT_UNFINISHED)
    return {step for step in steps[:-num_kept] if not stored.policy.is_milestone(step)}
