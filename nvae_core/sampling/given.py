"""Re-estimated statistics that an earlier run of the same checkpoint left."""

from collections.abc import Sequence

from torch import Tensor

from nvae_core.run_directory import InvalidRunDirectory, RunDirectory
from nvae_core.sampling.sampler import Sampler
from nvae_core.sampling.statistics import InvalidStatistics, StatisticsKey, read_statistics


def read_given(
    run: RunDirectory, paths: Sequence[str], sampler: Sampler
) -> dict[StatisticsKey, dict[str, Tensor]]:
    """Return the statistics in files, whose paths may be relative to the run directory.

    Raises:
        InvalidRunDirectory: one is damaged, or of another checkpoint.
    """
    given: dict[StatisticsKey, dict[str, Tensor]] = {}
    for path in paths:
        try:
            key, statistics = read_statistics(
                run.path / path, sampler.model, model_sha256=sampler.model_sha256
            )
        except InvalidStatistics as error:
            raise InvalidRunDirectory(f"{run.config_path}: {error}") from error
        given[key] = statistics
    return given
