"""Whether a job is tried again after an attempt ended: by reason, in one table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.domain.statuses import Reason


@dataclass(frozen=True)
class RetryRule:
    """How often a reason is forgiven between two committed checkpoints, and how long to wait."""

    budget: int
    first_delay_seconds: float
    longest_delay_seconds: float = 300.0
    only_after_training: bool = False


_INFRASTRUCTURE = RetryRule(budget=10, first_delay_seconds=5.0)

RETRY_RULES: Mapping[Reason, RetryRule] = {
    Reason.WORKER_LOST: RetryRule(budget=10, first_delay_seconds=0.0),
    Reason.NOT_CLAIMED: _INFRASTRUCTURE,
    Reason.STORAGE_UNAVAILABLE: _INFRASTRUCTURE,
    Reason.TRAINER_CRASHED: RetryRule(budget=2, first_delay_seconds=5.0, only_after_training=True),
}
"""Every reason that is not here ends the job."""


def retry_delay_seconds(
    reason: Reason, *, earlier: Sequence[Reason], has_trained: bool
) -> float | None:
    """Return how long the job waits before its next attempt, or None if there is none.

    Args:
        reason: why the attempt ended.
        earlier: why the attempts since the newest committed checkpoint ended, without this one.
        has_trained: whether this attempt reported at least one step.
    """
    rule = RETRY_RULES.get(reason)
    if rule is None or (rule.only_after_training and not has_trained):
        return None
    num_used = sum(1 for other in earlier if other == reason)
    if num_used >= rule.budget:
        return None
    first = rule.first_delay_seconds or (5.0 if num_used else 0.0)
    return min(first * 2.0**num_used, rule.longest_delay_seconds)
