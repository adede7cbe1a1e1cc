"""Import a checkpoint: `python -m nvae_core.cli.import_run RUN_DIRECTORY`."""

import sys

from nvae_core.config import ImportCheckpointConfig
from nvae_core.importing.run import import_run
from nvae_core.runtime.program import run_program


def main() -> int:
    """Run the program."""
    return run_program(ImportCheckpointConfig, import_run)


if __name__ == "__main__":
    sys.exit(main())
