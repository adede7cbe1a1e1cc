"""Analyze a checkpoint or runs: `python -m nvae_core.cli.analyze RUN_DIRECTORY`."""

import sys
from typing import cast

from nvae_core.analysis.context import Context
from nvae_core.analysis.run import analyze_run
from nvae_core.cli.running import run_program
from nvae_core.config import Analysis, AnalyzeConfig
from nvae_core.distributed import choose_device
from nvae_core.run_directory import Result, RunDirectory
from nvae_core.training.shutdown import StopSignal


def main() -> int:
    """Run the program."""
    return run_program(Analysis, _analyze)


def _analyze(config: Analysis, run: RunDirectory) -> Result:
    stop = StopSignal(run)
    stop.listen()
    context = Context(run=run, device=choose_device(), should_stop=stop.is_set)
    return analyze_run(cast(AnalyzeConfig, config), context)


if __name__ == "__main__":
    sys.exit(main())
