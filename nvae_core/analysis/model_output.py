"""What a model gives, looked at before it becomes a picture."""

from torch import Tensor

from nvae_core.analysis.image_rows import Pixels
from nvae_core.checkpoint import CheckpointCorrupt
from nvae_core.sampling.grids import as_bytes


def to_pixels(images: Tensor) -> Pixels:
    """Return images (N, C, H, W) in [0, 1] as (N, H, W, C) of bytes; raises as `check_finite`."""
    check_finite(images)
    return as_bytes(images)


def check_finite(*values: Tensor) -> None:
    """Check what the model of a checkpoint gave.

    Raises:
        CheckpointCorrupt: it has NaN or infinities, which as bytes would be black, or anything.
    """
    if not all(bool(value.isfinite().all()) for value in values):
        raise CheckpointCorrupt("checkpoint: its model gives values that are not finite")
