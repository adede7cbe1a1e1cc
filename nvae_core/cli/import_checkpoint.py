"""Convert a published checkpoint: `python -m nvae_core.cli.import_checkpoint IN OUT`."""

import argparse
import sys
from pathlib import Path

from nvae_core.checkpoint import write_checkpoint
from nvae_core.importing.published import read_published
from nvae_core.importing.torch_file import ForeignCheckpoint, limited_memory
from nvae_core.model.nvae import count_parameters
from nvae_core.training.checkpointer import take_snapshot


def main() -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(
        prog="python -m nvae_core.cli.import_checkpoint",
        description="Convert a checkpoint file of the published NVAE code to a checkpoint folder.",
    )
    parser.add_argument("checkpoint", type=Path, metavar="IN", help="file of the published code")
    parser.add_argument("folder", type=Path, metavar="OUT", help="new folder of the checkpoint")
    arguments = parser.parse_args()
    if arguments.folder.exists():
        parser.error(f"{arguments.folder} exists already")
    try:
        with limited_memory(arguments.checkpoint):
            published = read_published(arguments.checkpoint)
    except ForeignCheckpoint as error:
        sys.stderr.write(f"{error}\n")
        return 1
    state = published.state
    snapshot = take_snapshot(state, optimization=published.optimization, seed=published.seed)
    try:
        write_checkpoint(arguments.folder, snapshot)
    except OSError as error:
        sys.stderr.write(f"{arguments.folder}: {error.strerror}\n")
        return 1
    sys.stdout.write(
        f"{arguments.folder}: step {state.step}, {count_parameters(state.model)} parameters\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
