"""How every program runs: read the configuration, do the work, leave a result and a status."""

import ctypes
import gc
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict, TypeVar

import torch

from nvae_core.config import Config
from nvae_core.distributed import limit_threads, own_rank
from nvae_core.run_directory import ExitReason, InvalidRunDirectory, Result, RunDirectory
from nvae_core.runtime.errors import describe, measure_memory, reason_for
from nvae_core.runtime.stalls import dump_stacks_on_request
from nvae_core.runtime.stop import die_with_parent, watch_deadman

USAGE_STATUS = 2
# Numbers that mallopt of the GNU C library gives its settings.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 2**25  # that mallopt accepts

ConfigT = TypeVar("ConfigT", bound=Config)


def run_program(
    config_type: type[ConfigT],
    work: Callable[[ConfigT, RunDirectory], Result],
    *,
    reasons: Mapping[type[BaseException], ExitReason] = {},
) -> int:
    """Do the work of the run directory named on the command line; return the exit status.

    The status is 0 exactly when the result says succeeded or stopped. `reasons` are those of
    errors that only this program has.
    """
    die_with_parent()
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

    result = carry_out(run, config_type, work_observed, reasons=reasons)
    return 1 if result.status == "failed" else 0


def carry_out(
    run: RunDirectory,
    config_type: type[ConfigT],
    work: Callable[[ConfigT, RunDirectory], Result],
    *,
    reasons: Mapping[type[BaseException], ExitReason] = {},
    no_result_for: Collection[ExitReason] = (),
) -> Result:
    """Do the work of a run directory, and leave its result there, whatever goes wrong.

    A failure for one of the reasons in `no_result_for` is returned only, and leaves no result.
    """
    config: ConfigT | None = None
    try:
        if own_rank() == 0:
            run.reserve_result()
        config = _read_config(run, config_type)
        result = work(config, run)
        run.finish_progress()
    except Exception as error:  # whatever it is, the result says so
        traceback.print_exc()
        memory = measure_memory()
        reason = reason_for(error, memory, reasons)
        message = describe(error, reason, memory, config)
        result = Result(status="failed", reason=reason, message=message)
        if reason in no_result_for:
            return result
    if result.status == "failed" or own_rank() == 0:
        run.write_result(result)
    return result


def _read_config(run: RunDirectory, config_type: type[ConfigT]) -> ConfigT:
    config = run.read_config()
    if not isinstance(config, config_type):
        raise InvalidRunDirectory(f"{run.config_path}: kind: {config.kind} is for another program")
    return config


class DeviceDescription(TypedDict):
    """Fields of `StartedLine`."""

    device: str
    torch: str
    cuda: str | None


def describe_device(device: torch.device) -> DeviceDescription:
    """Return what a run computes on."""
    is_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if is_gpu else device.type,
        "torch": torch.__version__,
        "cuda": torch.version.cuda if is_gpu else None,
    }


def keep_freed_memory() -> None:
    """Keep freed memory in this process, where the C library is GNU's.

    Otherwise what one step frees is given back to the system, and each page that the next step
    touches is cleared and mapped again: a twentieth of a training step on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(TRIM_THRESHOLD, 2**31 - 1)
        mallopt(MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)


@contextmanager
def undisturbed_by_collection() -> Iterator[None]:
    """Let the garbage collector not look through what is there already, again and again."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
