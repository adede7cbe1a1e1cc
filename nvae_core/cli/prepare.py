"""Turn a source of images into a data set: `python -m nvae_core.cli.prepare RUN_DIRECTORY`."""

import sys

from nvae_core.cli.running import run_program
from nvae_core.config import PrepareDatasetConfig
from nvae_core.data.prepared import write_prepared
from nvae_core.data.sources import read_source
from nvae_core.run_directory import Result, RunDirectory


def main() -> int:
    """Run the program."""
    return run_program(PrepareDatasetConfig, _prepare)


def _prepare(config: PrepareDatasetConfig, run: RunDirectory) -> Result:
    splits = read_source(config.source, seed=config.seed)
    manifest = write_prepared(run.dataset, splits, config.source)
    return Result(
        status="succeeded",
        values={
            "content_hash": manifest.content_hash,
            "num_train_images": manifest.splits["train"].num_images,
            "num_test_images": manifest.splits["test"].num_images,
            "height": manifest.height,
            "width": manifest.width,
            "num_colors": manifest.num_colors,
        },
    )


if __name__ == "__main__":
    sys.exit(main())
