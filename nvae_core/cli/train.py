"""Train a model: `torchrun --nproc-per-node N -m nvae_core.cli.train RUN_DIRECTORY`."""

import sys

from nvae_core.cli.running import run_program
from nvae_core.config import TrainConfig
from nvae_core.distributed import join_ranks
from nvae_core.run_directory import Result, RunDirectory
from nvae_core.training.loop import train
from nvae_core.training.shutdown import StopSignal


def main() -> int:
    """Run the program."""
    return run_program(TrainConfig, _train)


def _train(config: TrainConfig, run: RunDirectory) -> Result:
    stop = StopSignal(run)
    stop.listen()
    with join_ranks(config.ranks) as ranks:
        return train(config, run, ranks, stop)


if __name__ == "__main__":
    sys.exit(main())
