"""How every program runs: read the configuration, do the work, leave a result and a status."""

import sys
import traceback
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

import torch

from nvae_core.checkpoint import CheckpointCorrupt
from nvae_core.cli import PARENT_AT_START
from nvae_core.config import Config
from nvae_core.data.invalid import InvalidDataset
from nvae_core.distributed import RanksMissing, limit_threads, own_rank
from nvae_core.run_directory import (
    ExitReason,
    InvalidRunDirectory,
    Result,
    RunDirectory,
    is_disk_full,
)
from nvae_core.runtime.memory import keep_freed_memory
from nvae_core.training.introspection import dump_stacks_on_request
from nvae_core.training.metrics import NonFiniteLoss
from nvae_core.training.shutdown import die_with_parent, watch_deadman

USAGE_STATUS = 2

ConfigT = TypeVar("ConfigT", bound=Config)


def run_program(config_type: type[ConfigT], work: Callable[[ConfigT, RunDirectory], Result]) -> int:
    """Do the work of the run directory named on the command line; return the exit status.

    The status is 0 exactly when the result says succeeded or stopped.
    """
    die_with_parent(PARENT_AT_START)
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.stderr.write("usage: one argument, the run directory\n")
        return USAGE_STATUS
    limit_threads()
    keep_freed_memory()
    run = RunDirectory(Path(sys.argv[1]).absolute())
    if own_rank() == 0 and (run.progress_path.exists() or run.result_path.exists()):
        sys.stderr.write(f"{run.path} holds a run already; take a new folder (and resume_from)\n")
        return USAGE_STATUS
    watch_deadman(run)

    def work_observed(config: ConfigT, run: RunDirectory) -> Result:
        dump_stacks_on_request(run, own_rank())
        return work(config, run)

    return 1 if carry_out(run, config_type, work_observed).status == "failed" else 0


def carry_out(
    run: RunDirectory,
    config_type: type[ConfigT],
    work: Callable[[ConfigT, RunDirectory], Result],
    *,
    unsaid: Collection[ExitReason] = (),
) -> Result:
    """Do the work of a run directory, and leave its result there, whatever goes wrong.

    A failure for one of the reasons in `unsaid` is returned only, and leaves no result.
    """
    try:
        if own_rank() == 0:
            run.reserve_result()
        result = work(_read_config(run, config_type), run)
        run.finish_progress()
    except Exception as error:  # whatever it is, the result says so
        traceback.print_exc()
        result = Result(status="failed", reason=reason_for(error), message=_describe(error))
        if result.reason in unsaid:
            return result
    if result.status == "failed" or own_rank() == 0:
        run.write_result(result)
    return result


def reason_for(error: Exception) -> ExitReason:
    """Return the reason that the result gives for an error."""
    reasons: tuple[tuple[type[Exception], ExitReason], ...] = (
        (InvalidRunDirectory, ExitReason.INVALID_CONFIG),
        (InvalidDataset, ExitReason.INVALID_DATASET),
        (CheckpointCorrupt, ExitReason.CHECKPOINT_CORRUPT),
        (NonFiniteLoss, ExitReason.NON_FINITE_LOSS),
        (torch.OutOfMemoryError, ExitReason.OUT_OF_MEMORY),
        (MemoryError, ExitReason.OUT_OF_MEMORY),
        (RanksMissing, ExitReason.RENDEZVOUS_TIMEOUT),
    )
    for kind, reason in reasons:
        if isinstance(error, kind):
            return reason
    if is_disk_full(error):
        return ExitReason.DISK_FULL
    if "DefaultCPUAllocator" in str(error):  # torch has no class for it
        return ExitReason.OUT_OF_MEMORY
    if _lost_peer(error):
        return ExitReason.PEER_LOST
    return ExitReason.TRAINER_CRASHED


def _read_config(run: RunDirectory, config_type: type[ConfigT]) -> ConfigT:
    config = run.read_config()
    if not isinstance(config, config_type):
        raise InvalidRunDirectory(f"{run.config_path}: kind: {config.kind} is for another program")
    return config


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and is_disk_full(error):
        return f"the disk is full: {error.strerror}"
    message = str(error) or type(error).__name__
    if _lost_peer(error):
        return f"another rank ended or does not answer, its log may say why: {message}"
    return message


def _lost_peer(error: Exception) -> bool:
    """Whether a collective failed; gloo's errors have no class of their own."""
    is_collective = isinstance(error, torch.distributed.DistBackendError) or "gloo" in str(error)
    return isinstance(error, RuntimeError) and is_collective
