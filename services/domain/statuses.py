"""Where jobs and attempts can be, which moves are legal, and why they are where they are."""

from enum import StrEnum

from services.domain.errors import Conflict


class JobStatus(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AttemptStatus(StrEnum):
    """Where one execution of a job is."""

    PLACED = "placed"  # slots taken, the node does not know yet
    CLAIMED = "claimed"  # the node started a runner
    RUNNING = "running"  # the runner started the trainer
    FINISHED = "finished"


class Reason(StrEnum):
    """Why a job is where it is, or why an attempt ended."""

    WAITING_FOR_SLOTS = "waiting_for_slots"
    WAITING_FOR_RETRY = "waiting_for_retry"
    CANCEL_REQUESTED = "cancel_requested"
    SUCCEEDED = "succeeded"
    CANCELLED_BY_USER = "cancelled_by_user"
    WORKER_LOST = "worker_lost"
    NOT_CLAIMED = "not_claimed"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    RUNNER_FAILED = "runner_failed"  # this machine, or a defect of the runner
    INVALID_CONFIG = "invalid_config"
    INVALID_DATASET = "invalid_dataset"
    CHECKPOINT_CORRUPT = "checkpoint_corrupt"
    NON_FINITE_LOSS = "non_finite_loss"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    RENDEZVOUS_TIMEOUT = "rendezvous_timeout"
    STALLED = "stalled"
    TRAINER_CRASHED = "trainer_crashed"


JOB_TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.STARTING, JobStatus.CANCELLED}),
    JobStatus.STARTING: frozenset(
        {JobStatus.RUNNING, JobStatus.STOPPING, JobStatus.QUEUED, JobStatus.FAILED}
    ),
    JobStatus.RUNNING: frozenset(
        {JobStatus.STOPPING, JobStatus.QUEUED, JobStatus.SUCCEEDED, JobStatus.FAILED}
    ),
    JobStatus.STOPPING: frozenset({JobStatus.CANCELLED, JobStatus.SUCCEEDED, JobStatus.FAILED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}

TERMINAL = frozenset(status for status, targets in JOB_TRANSITIONS.items() if not targets)


def check_transition(current: JobStatus, target: JobStatus) -> None:
    """Raise Conflict unless a job may go from one status to the other."""
    if target not in JOB_TRANSITIONS[current]:
        raise Conflict(f"a job that is {current} cannot become {target}")
