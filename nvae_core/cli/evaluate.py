"""Measure a checkpoint: `torchrun --nproc-per-node N -m nvae_core.cli.evaluate RUN_DIRECTORY`."""

import sys

from nvae_core.config import EvaluateConfig
from nvae_core.distributed import compute_on_one_thread, join_ranks, own_rank, prepare_device
from nvae_core.evaluation.run import evaluate_run
from nvae_core.run_directory import Phase, Result, RunDirectory
from nvae_core.runtime.program import run_program
from nvae_core.runtime.stalls import watch_for_stall
from nvae_core.runtime.stop import StopSignal


def main() -> int:
    """Run the program."""
    return run_program(EvaluateConfig, _evaluate)


def _evaluate(config: EvaluateConfig, run: RunDirectory) -> Result:
    compute_on_one_thread()
    prepare_device()
    stop = StopSignal(run).listen()
    rank_file = run.open_rank_file(own_rank())
    with join_ranks(config.ranks) as ranks:
        stall_seconds = config.ranks.stall_timeout_seconds
        watch_for_stall(run, ranks.rank, rank_file, timeout_seconds=stall_seconds)

        def enter(num_images: int) -> None:
            rank_file.enter(Phase.EVALUATE, num_images)

        result = evaluate_run(config, run, ranks, should_stop=stop.is_set, enter=enter)
        rank_file.enter(Phase.END, rank_file.state.step)
        return result


if __name__ == "__main__":
    sys.exit(main())
