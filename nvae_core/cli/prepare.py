"""Turn a source of images into a data set: `python -m nvae_core.cli.prepare RUN_DIRECTORY`."""

import sys

from nvae_core.config import PrepareDatasetConfig
from nvae_core.data.errors import MAX_REPORTED_FILES
from nvae_core.data.prepare import prepare_dataset
from nvae_core.run_directory import Result, RunDirectory
from nvae_core.runtime.program import run_program


def main() -> int:
    """Run the program."""
    return run_program(PrepareDatasetConfig, _prepare)


def _prepare(config: PrepareDatasetConfig, run: RunDirectory) -> Result:
    manifest = prepare_dataset(config, run)
    return Result(
        status="succeeded",
        values={
            "content_hash": manifest.content_hash,
            **{f"num_{name}_images": file.num_images for name, file in manifest.splits.items()},
            "height": manifest.height,
            "width": manifest.width,
            "num_colors": manifest.num_colors,
            "num_unreadable": manifest.num_unreadable,
            "unreadable": list(manifest.unreadable[:MAX_REPORTED_FILES]),
        },
    )


if __name__ == "__main__":
    sys.exit(main())
