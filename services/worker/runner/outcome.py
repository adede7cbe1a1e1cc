"""How an attempt ended, for its user: from `result.json`, the exit code, or an error."""

import re
import signal

import structlog

from nvae_core.run_directory import ExitReason, Result, is_disk_full
from services.database.completion import Outcome
from services.domain.errors import InvalidSpec
from services.domain.states import Reason
from services.storage.s3 import StorageUnavailable
from services.worker.inputs.cache import CorruptInput
from services.worker.trainer.rendezvous import Gang, PortInUse

# torchrun's word on the rank that ended first; it ends the others itself, with SIGTERM.
FIRST_KILLED = re.compile(r"failed \(exitcode: -(?P<signal>\d+)\) local_rank: (?P<local_rank>\d+)")
PORT_WORDS = ("eaddrinuse", "address already in use")
log = structlog.get_logger()


def outcome_of_run(
    result: Result | None,
    exit_code: int | None,
    log_lines: str,
    *,
    gang: Gang | None = None,
    torchrun_log: str = "",
    without_result: Reason = Reason.TRAINER_CRASHED,
) -> Outcome | None:
    """Return how the trainer ended: what `result.json` says, and only without one the exit code.

    None means that this node has nothing to say: rank 0 is on another one, and all went well here.

    Args:
        result: of the first rank that left one.
        exit_code: of torchrun.
        log_lines: the last ones.
        gang: this node's place among several.
        torchrun_log: where it says which rank of this node ended first, and of what.
        without_result: the reason where there is no result.
    """
    if result is None and exit_code == 0 and gang is not None and gang.node_rank > 0:
        return None
    if result is None:
        is_port = gang is not None and any(words in log_lines.lower() for words in PORT_WORDS)
        reason = Reason.PORT_IN_USE if is_port else without_result
        message = f"the trainer ended with exit code {exit_code} and left no result"
        return Outcome(reason, f"{message}\n{log_lines}".strip())
    if result.status == "succeeded":
        values = {"step": result.step, **result.values}
        return Outcome(Reason.SUCCEEDED, result.message or "done", values)
    reason = Reason.WORKER_LOST  # something else than its runner has ended it
    if result.reason not in (None, ExitReason.STOPPED, ExitReason.LEASE_LOST):
        reason = Reason(result.reason)
    if reason == Reason.PEER_LOST and gang is None:
        reason = Reason.TRAINER_CRASHED  # the other rank was here as well
    if reason == Reason.PEER_LOST and (killed := FIRST_KILLED.search(torchrun_log)):
        # It was here, and could not say so itself.
        killed_by = signal.strsignal(int(killed["signal"])) or "a signal"
        message = f"local rank {killed['local_rank']} ended without a word: {killed_by}"
        return Outcome(Reason.TRAINER_CRASHED, message)
    message = result.message or f"{result.status} at step {result.step}"
    return Outcome(reason, message)


def outcome_of_error(error: Exception) -> Outcome:
    """Return the outcome for what went wrong around the trainer."""
    if isinstance(error, InvalidSpec):
        return Outcome(Reason.INVALID_DATASET, error.message)
    if isinstance(error, CorruptInput):
        return Outcome(error.reason, str(error))
    if isinstance(error, PortInUse):
        return Outcome(Reason.PORT_IN_USE, str(error))
    if isinstance(error, StorageUnavailable):
        return Outcome(Reason.STORAGE_UNAVAILABLE, f"the object store failed: {error}")
    # A full disk, a fork that failed, a defect.
    log.error("runner.failed", exc_info=error)
    reason = Reason.DISK_FULL if is_disk_full(error) else Reason.RUNNER_FAILED
    return Outcome(reason, f"the runner failed: {error!r}")
