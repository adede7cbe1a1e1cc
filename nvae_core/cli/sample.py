"""Draw images from a checkpoint: `python -m nvae_core.cli.sample RUN_DIRECTORY`."""

import sys

from nvae_core.config import SampleConfig
from nvae_core.distributed import choose_device, compute_on_one_thread, prepare_device
from nvae_core.run_directory import Result, RunDirectory
from nvae_core.runtime.program import run_program
from nvae_core.runtime.stop import StopSignal
from nvae_core.sampling.run import sample_run
from nvae_core.sampling.sampler import Sampler


def main() -> int:
    """Run the program."""
    return run_program(SampleConfig, _sample)


def _sample(config: SampleConfig, run: RunDirectory) -> Result:
    compute_on_one_thread()
    prepare_device()
    stop = StopSignal(run).listen()
    sampler = Sampler.load(run.path / config.checkpoint, choose_device())
    return sample_run(config, run, sampler, should_stop=stop.is_set)


if __name__ == "__main__":
    sys.exit(main())
