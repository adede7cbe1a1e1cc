"""Whether a job is tried again after an attempt ended, by reason, and what is changed for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nvae_core.config import OptimizationConfig
from services.domain.states import Reason

MAX_INTERVENTIONS = 3
_RATE_FACTOR = 0.7
_SPECTRAL_FACTOR = 2.0
_SEED_STEP = 1_000_003
_LARGEST_SEED = 2**63 - 1
NODE_FAULTS = frozenset(
    {
        *(Reason.WORKER_LOST, Reason.NODE_LOST, Reason.NODE_NOT_READY, Reason.PORT_IN_USE),
        *(Reason.NOT_CLAIMED, Reason.STALLED, Reason.RUNNER_FAILED, Reason.DISK_FULL),
        # Where these are the store's fault they happen on all nodes, and then none is avoided.
        *(Reason.STORAGE_UNAVAILABLE, Reason.CHECKPOINT_CORRUPT),
        *(Reason.GPU_UNAVAILABLE, Reason.DEVICE_ERROR),
    }
)
"""Reasons that are held against a node: a job avoids one that had two of them."""
DEVICE_FAULTS = frozenset({Reason.GPU_UNAVAILABLE, Reason.DEVICE_ERROR})
"""Reasons of which one is enough: the GPU will fail the next attempt as well."""
STOP_REASONS = frozenset(
    {
        *(Reason.PAUSED_BY_USER, Reason.CANCELLED_BY_USER),
        *(Reason.DRAINED, Reason.DEADLINE_EXCEEDED),
    }
)
"""Reasons for which runners are told to end an attempt in order."""
FIRST_DELAY_SECONDS = 5.0
LONGEST_DELAY_SECONDS = 300.0


def adjust_optimization(optimization: OptimizationConfig, *, number: int) -> OptimizationConfig:
    """Return the optimization after this many interventions; 0 changes nothing."""
    rate = optimization.learning_rate * _RATE_FACTOR**number
    update = {
        "learning_rate": rate,
        "min_learning_rate": min(optimization.min_learning_rate, rate),
        "spectral_weight": optimization.spectral_weight * _SPECTRAL_FACTOR**number,
    }
    if optimization.initial_spectral_weight is not None:
        update["initial_spectral_weight"] = (
            optimization.initial_spectral_weight * _SPECTRAL_FACTOR**number
        )
    return optimization.model_copy(update=update) if number else optimization


def adjust_seed(seed: int, *, number: int) -> int:
    """Return the seed of the order and the noise after this many interventions."""
    return (seed + number * _SEED_STEP) % _LARGEST_SEED if number else seed


@dataclass(frozen=True)
class RetryRule:
    """How often a reason is forgiven between two savings of progress; None is always."""

    budget: int | None
    first_at_once: bool = False
    only_after_training: bool = False


RETRY_RULES: Mapping[Reason, RetryRule] = {
    Reason.DRAINED: RetryRule(budget=None),
    Reason.WORKER_LOST: RetryRule(budget=10, first_at_once=True),
    Reason.NODE_LOST: RetryRule(budget=10, first_at_once=True),
    Reason.NODE_NOT_READY: RetryRule(budget=10, first_at_once=True),
    Reason.PORT_IN_USE: RetryRule(budget=10, first_at_once=True),
    Reason.PEER_LOST: RetryRule(budget=10, first_at_once=True),
    Reason.NOT_CLAIMED: RetryRule(budget=10),
    Reason.STORAGE_UNAVAILABLE: RetryRule(budget=10),
    Reason.RENDEZVOUS_TIMEOUT: RetryRule(budget=10),
    Reason.STALLED: RetryRule(budget=10),
    Reason.GPU_UNAVAILABLE: RetryRule(budget=3, first_at_once=True),
    Reason.DEVICE_ERROR: RetryRule(budget=3, first_at_once=True),
    Reason.RUNNER_FAILED: RetryRule(budget=3),
    Reason.DISK_FULL: RetryRule(budget=3),
    Reason.CHECKPOINT_CORRUPT: RetryRule(budget=3, first_at_once=True),
    Reason.NON_FINITE_LOSS: RetryRule(budget=MAX_INTERVENTIONS, first_at_once=True),
    Reason.TRAINER_CRASHED: RetryRule(budget=2, only_after_training=True),
}
"""Every reason that is not here ends the job."""


def retry_delay_seconds(
    reason: Reason, *, earlier: Sequence[Reason], has_trained: bool
) -> float | None:
    """Return how long the job waits before its next attempt, or None if there is none.

    Args:
        reason: why the attempt ended.
        earlier: why the attempts since progress was last saved, in a committed checkpoint or an
            evaluation's estimates, ended, without this one; of interventions, all there ever were.
        has_trained: whether the job has ever reported a step.
    """
    rule = RETRY_RULES.get(reason)
    if rule is None or (rule.only_after_training and not has_trained):
        return None
    if rule.budget is None:
        return 0.0
    num_used = sum(1 for other in earlier if other == reason)
    if num_used >= rule.budget:
        return None
    if num_used == 0 and rule.first_at_once:
        return 0.0
    return min(FIRST_DELAY_SECONDS * 2.0**num_used, LONGEST_DELAY_SECONDS)


def first_cause(known: Reason | None, reported: Reason) -> bool:
    """Whether a reported reason is to replace the one that is known of an attempt.

    The first cause stays, except that a rank that only misses another one knows less than whoever
    saw that one end.
    """
    if known == Reason.PEER_LOST:
        return reported not in STOP_REASONS
    return known is None
