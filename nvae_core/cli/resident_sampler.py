"""Answers sample runs from models that stay loaded.

`python -m nvae_core.cli.resident_sampler SOCKET BUDGET_BYTES IDLE_SECONDS` listens at a Unix
socket, and ends with its standard input, or when nobody has asked for a while. It computes on one
device. A request is a JSON line; lines answer it:

- `{"run_directory": "…"}`: `queued` at once, `begun` when its turn has come, and `done` when its
  result is there. If the connection ends before `begun`, nothing has happened to the run, and
  somebody else can carry it out. A run stops when its stop file appears, its deadman's deadline
  passes, or the connection is closed.
- `{"release": true}`: `queued`; the process ends when it has done what was asked for before.

A run that breaks the process, or that finds no memory beside the models that are loaded, is left
without a result: the process ends, and a process of its own may well succeed.
"""

import os
import sys
import threading
from pathlib import Path

from nvae_core.cli.loaded_samplers import LoadedSamplers
from nvae_core.cli.resident_requests import BEGUN, DONE, Request, Requests
from nvae_core.config import SampleConfig
from nvae_core.distributed import choose_device, compute_on_one_thread
from nvae_core.run_directory import ExitReason, Result, RunDirectory
from nvae_core.runtime.program import carry_out, keep_freed_memory
from nvae_core.sampling.run import sample_run

BROKEN = frozenset({ExitReason.TRAINER_CRASHED, ExitReason.OUT_OF_MEMORY})


def main() -> int:
    """Serve until idle, released or broken."""
    path, budget_bytes, idle_seconds = sys.argv[1:]
    threading.Thread(target=_end_with_input, daemon=True).start()
    compute_on_one_thread()
    keep_freed_memory()
    samplers = LoadedSamplers(int(budget_bytes), choose_device())
    requests = Requests(Path(path))
    while request := requests.next(float(idle_seconds)):
        with request.connection:
            if request.run_directory is None:
                return 0
            if request.is_given_up():
                continue
            request.tell(BEGUN)
            if not _sample(samplers, request, RunDirectory(request.run_directory)):
                return 1
            request.tell(DONE)
    return 0


def _sample(samplers: LoadedSamplers, request: Request, run: RunDirectory) -> bool:
    """Carry out a run; return whether this process can go on."""

    def should_stop() -> bool:
        return run.stop_requested() or run.deadman_expired() or request.is_given_up()

    def work(config: SampleConfig, run: RunDirectory) -> Result:
        return sample_run(
            config, run, samplers.take(run.path / config.checkpoint), should_stop=should_stop
        )

    result = carry_out(run, SampleConfig, work, unsaid=BROKEN)
    samplers.trim()
    return result.reason not in BROKEN


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        continue
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
