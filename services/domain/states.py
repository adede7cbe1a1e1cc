"""Where jobs and attempts can be, which moves are legal, and why they are where they are."""

from enum import StrEnum

from services.domain.errors import Conflict


class JobStatus(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AttemptStatus(StrEnum):
    """Where one execution of a job is."""

    PLACED = "placed"  # its nodes get ready
    RUNNING = "running"  # all nodes were ready: the trainer runs
    FINISHED = "finished"


class MemberStatus(StrEnum):
    """Where one node's share of an attempt is."""

    PLACED = "placed"  # slots taken, the node does not know yet
    CLAIMED = "claimed"  # the node started a runner
    READY = "ready"  # inputs are there: the trainer can start, or runs
    FINISHED = "finished"  # no process is left, the slots are free


class CheckpointStatus(StrEnum):
    """Whether a checkpoint can be used."""

    COMMITTED = "committed"
    SUPERSEDED = "superseded"  # training went back to before it
    CORRUPT = "corrupt"  # found damaged when it was read
    DELETING = "deleting"  # its files are going
    DELETED = "deleted"


class StopRequest(StrEnum):
    """What a user wants of a job that is not to run on."""

    PAUSE = "pause"
    CANCEL = "cancel"


class Reason(StrEnum):
    """Why a job is where it is, or why an attempt ended."""

    WAITING_FOR_SLOTS = "waiting_for_slots"
    WAITING_FOR_RETRY = "waiting_for_retry"
    PAUSE_REQUESTED = "pause_requested"
    CANCEL_REQUESTED = "cancel_requested"
    SUCCEEDED = "succeeded"
    PAUSED_BY_USER = "paused_by_user"
    CANCELLED_BY_USER = "cancelled_by_user"
    DRAINED = "drained"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    WORKER_LOST = "worker_lost"
    NODE_LOST = "node_lost"
    NODE_NOT_READY = "node_not_ready"
    PORT_IN_USE = "port_in_use"
    PEER_LOST = "peer_lost"  # a rank on another node does not answer
    NOT_CLAIMED = "not_claimed"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    RUNNER_FAILED = "runner_failed"  # this machine, or a defect of the runner
    INVALID_CONFIG = "invalid_config"
    INVALID_DATASET = "invalid_dataset"
    CHECKPOINT_CORRUPT = "checkpoint_corrupt"
    NON_FINITE_LOSS = "non_finite_loss"
    OUT_OF_MEMORY = "out_of_memory"
    GPU_UNAVAILABLE = "gpu_unavailable"  # a GPU's slot, and torch finds no GPU there
    DEVICE_ERROR = "device_error"  # a GPU that no process can use before it is reset
    DISK_FULL = "disk_full"
    RENDEZVOUS_TIMEOUT = "rendezvous_timeout"
    STALLED = "stalled"
    TRAINER_CRASHED = "trainer_crashed"


JOB_TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.STARTING, JobStatus.PAUSED, JobStatus.CANCELLED}),
    JobStatus.STARTING: frozenset(
        {JobStatus.RUNNING, JobStatus.STOPPING, JobStatus.QUEUED, JobStatus.FAILED}
    ),
    JobStatus.RUNNING: frozenset(
        {JobStatus.STOPPING, JobStatus.QUEUED, JobStatus.SUCCEEDED, JobStatus.FAILED}
    ),
    JobStatus.STOPPING: frozenset(
        {JobStatus.PAUSED, JobStatus.CANCELLED, JobStatus.SUCCEEDED, JobStatus.FAILED}
    ),
    JobStatus.PAUSED: frozenset({JobStatus.QUEUED, JobStatus.CANCELLED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}
TERMINAL = frozenset(status for status, targets in JOB_TRANSITIONS.items() if not targets)


def check_transition(current: JobStatus, target: JobStatus) -> None:
    """Raise Conflict unless a job may go from one status to the other."""
    if target not in JOB_TRANSITIONS[current]:
        raise Conflict(f"a job that is {current} cannot become {target}")
