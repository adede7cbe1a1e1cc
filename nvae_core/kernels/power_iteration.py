"""Power iteration by a kernel of ours: a matrix that fits the cache is read from memory once."""

from torch import Tensor

from nvae_core.kernels.library import library


def iterate(weight: Tensor, left: Tensor, right: Tensor, num_iterations: int) -> float:
    """Move the vectors (R,) and (C,) towards singular vectors, in place; return left W right.

    The weight (R, ...) is such that `library.fits`; its C columns are in the order of memory.
    """
    rows = len(weight)
    value: float = library().power_iteration(
        *(weight.data_ptr(), left.data_ptr(), right.data_ptr()),
        *(rows, weight.numel() // rows, num_iterations),
    )
    return value
