"""What a hanging rank still tells: its stacks on SIGUSR1, and its own end after a long stall."""

import faulthandler
import os
import signal
import threading
import time

from nvae_core.run_directory import ExitReason, RankFile, Result, RunDirectory

MAX_INTERVAL_SECONDS = 1.0


def dump_stacks_on_request(run: RunDirectory, rank: int) -> None:
    """From now on append the stacks of all threads to this rank's file at each SIGUSR1."""
    path = run.stacks_path(rank)
    path.parent.mkdir(exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    faulthandler.register(signal.SIGUSR1, file=descriptor, all_threads=True)


def watch_for_stall(
    run: RunDirectory, rank: int, rank_file: RankFile, *, timeout_seconds: float
) -> None:
    """Start a thread that ends the run as stalled when this rank enters no phase for so long."""
    arguments = (run, rank, rank_file, timeout_seconds)
    threading.Thread(target=_watch, args=arguments, name="stall", daemon=True).start()


def _watch(run: RunDirectory, rank: int, rank_file: RankFile, timeout_seconds: float) -> None:
    pause = threading.Event()
    interval = min(MAX_INTERVAL_SECONDS, timeout_seconds / 4)
    idle_seconds, seen = 0.0, rank_file.state
    while idle_seconds < timeout_seconds:
        pause.wait(interval)
        # Counted, not measured: a process that was stopped for a while has not stalled.
        idle_seconds = idle_seconds + interval if rank_file.state is seen else 0.0
        seen = rank_file.state
    try:
        with run.stacks_path(rank).open("a") as file:
            faulthandler.dump_traceback(file, all_threads=True)
        now = time.monotonic()
        states = run.read_ranks().items()
        ranks = ", ".join(f"rank {number}: {state.describe(now)}" for number, state in states)
        message = (
            f"rank {rank} made no progress for {timeout_seconds:g} s; {ranks}; "
            f"stacks are in {run.stacks_path(rank).relative_to(run.path)}"
        )
        run.write_result(Result(status="failed", reason=ExitReason.STALLED, message=message))
    finally:
        os._exit(1)
