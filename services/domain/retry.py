"""Whether a job is tried again after an attempt ended: by reason, in one table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.domain.statuses import Reason


@dataclass(frozen=True)
class RetryRule:
    """How often a reason is forgiven between two committed checkpoints."""

    budget: int
    first_at_once: bool = False
    only_after_training: bool = False


RETRY_RULES: Mapping[Reason, RetryRule] = {
    Reason.WORKER_LOST: RetryRule(budget=10, first_at_once=True),
    Reason.NOT_CLAIMED: RetryRule(budget=10),
    Reason.STORAGE_UNAVAILABLE: RetryRule(budget=10),
    Reason.RUNNER_FAILED: RetryRule(budget=3),
    Reason.DISK_FULL: RetryRule(budget=3),
    Reason.RENDEZVOUS_TIMEOUT: RetryRule(budget=10),
    Reason.STALLED: RetryRule(budget=10),
    Reason.TRAINER_CRASHED: RetryRule(budget=2, only_after_training=True),
}
"""Every reason that is not here ends the job."""

FIRST_DELAY_SECONDS = 5.0
LONGEST_DELAY_SECONDS = 300.0


def retry_delay_seconds(
    reason: Reason, *, earlier: Sequence[Reason], has_trained: bool
) -> float | None:
    """Return how long the job waits before its next attempt, or None if there is none.

    Args:
        reason: why the attempt ended.
        earlier: why the attempts since the newest committed checkpoint ended, without this one.
        has_trained: whether the job has ever reported a step.
    """
    rule = RETRY_RULES.get(reason)
    if rule is None or (rule.only_after_training and not has_trained):
        return None
    num_used = sum(1 for other in earlier if other == reason)
    if num_used >= rule.budget:
        return None
    if num_used == 0 and rule.first_at_once:
        return 0.0
    return min(FIRST_DELAY_SECONDS * 2.0**num_used, LONGEST_DELAY_SECONDS)
