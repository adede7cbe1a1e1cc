"""Analyze a checkpoint or runs: `python -m nvae_core.cli.analyze RUN_DIRECTORY`."""

import sys

from nvae_core.analysis.run import analyze_run
from nvae_core.cli.running import run_program
from nvae_core.config import Analysis
from nvae_core.distributed import choose_device
from nvae_core.run_directory import Result, RunDirectory
from nvae_core.training.shutdown import StopSignal


def main() -> int:
    """Run the program."""
    return run_program(Analysis, _analyze)


def _analyze(config: Analysis, run: RunDirectory) -> Result:
    stop = StopSignal(run)
    stop.listen()
    return analyze_run(config, run, choose_device(), stop.is_set)


if __name__ == "__main__":
    sys.exit(main())
