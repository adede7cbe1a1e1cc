"""Images drawn from the prior, batch norm re-estimated for them, and what is kept of both."""

from nvae_core.sampling.drawing import draw_images
from nvae_core.sampling.pixels import arrange_grid, report_file, report_grid, save_grid
from nvae_core.sampling.re_estimation import re_estimate_batch_norm
from nvae_core.sampling.run import sample_run
from nvae_core.sampling.sampler import Sampler

__all__ = [
    "Sampler",
    "arrange_grid",
    "draw_images",
    "re_estimate_batch_norm",
    "report_file",
    "report_grid",
    "sample_run",
    "save_grid",
]
