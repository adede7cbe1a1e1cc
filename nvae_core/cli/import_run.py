"""Import a checkpoint: `python -m nvae_core.cli.import_run RUN_DIRECTORY`."""

import sys

from nvae_core.config import CheckpointFolder, ImportCheckpointConfig
from nvae_core.importing.run import import_run
from nvae_core.importing.torch_file import limited_memory
from nvae_core.run_directory import Result, RunDirectory
from nvae_core.runtime.program import run_program


def main() -> int:
    """Run the program."""
    return run_program(ImportCheckpointConfig, _import)


def _import(config: ImportCheckpointConfig, run: RunDirectory) -> Result:
    if isinstance(config.source, CheckpointFolder):
        return import_run(config, run)
    with limited_memory(run.path / config.source.path):
        return import_run(config, run)


if __name__ == "__main__":
    sys.exit(main())
