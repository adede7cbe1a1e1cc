"""How the steps of a training run are computed."""

from typing import Literal

from pydantic import StrictBool

from nvae_core.config.base import Config, PositiveInt
from nvae_core.config.optimization import OptimizationConfig

StatisticsScope = Literal["all_ranks", "per_node", "local"]


class ComputeConfig(Config):
    """How a step is computed: what it costs, and how it is rounded.

    Parameters, optimizer state, distributions and the terms of the objective are float32 in
    every precision.
    """

    precision: Literal["float32", "bf16", "fp16"] = "float32"
    gradient_accumulation: PositiveInt = 1  # micro-batches that a rank's batch is taken in
    activation_checkpointing: StrictBool = False  # less memory, more work; the same bits
    batch_norm_statistics: StatisticsScope = "all_ranks"  # whose batches are normalized together
    compile: StrictBool = False  # the cells, by torch.compile


def check_micro_batches(optimization: OptimizationConfig, compute: ComputeConfig) -> None:
    """Raise ValueError if the batch of a rank cannot be taken in so many equal parts."""
    parts, batch_size = compute.gradient_accumulation, optimization.batch_size
    if batch_size % parts:
        raise ValueError(
            f"compute.gradient_accumulation: the batch_size of {batch_size} cannot be taken in "
            f"{parts} equal micro-batches"
        )
