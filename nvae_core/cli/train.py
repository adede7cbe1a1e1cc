"""Train a model: `torchrun --nproc-per-node N -m nvae_core.cli.train RUN_DIRECTORY`."""

import sys

from nvae_core.config import TrainConfig
from nvae_core.distributed import join_ranks, own_rank, prepare_device
from nvae_core.run_directory import ExitReason, Result, RunDirectory
from nvae_core.runtime.program import run_program
from nvae_core.runtime.stalls import watch_for_stall
from nvae_core.runtime.stop import StopSignal
from nvae_core.training.metrics import NonFiniteLoss
from nvae_core.training.reporter import PhaseClock
from nvae_core.training.train import train


def main() -> int:
    """Run the program."""
    return run_program(TrainConfig, _train, reasons={NonFiniteLoss: ExitReason.NON_FINITE_LOSS})


def _train(config: TrainConfig, run: RunDirectory) -> Result:
    stop = StopSignal(run).listen()
    rank_file = run.open_rank_file(own_rank())
    prepare_device(deterministic=config.compute.deterministic)
    with join_ranks(config.ranks) as ranks:
        stall_seconds = config.ranks.stall_timeout_seconds
        watch_for_stall(run, ranks.rank, rank_file, timeout_seconds=stall_seconds)
        return train(config, run, ranks, stop, PhaseClock(rank_file, ranks.device))


if __name__ == "__main__":
    sys.exit(main())
