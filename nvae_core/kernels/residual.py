"""The end of a residual cell by a kernel of ours: an image is gated while it is in the cache."""

from torch import Tensor

from nvae_core.kernels.library import library

GateParameters = tuple[Tensor, Tensor, Tensor, Tensor]


def add_residual(skip: Tensor, residual: Tensor, gate: GateParameters, scale: float) -> None:
    """Turn the residual (B, H, W, C) into skip + scale gate residual; both are contiguous.

    `gate` has the weights and biases of squeeze (N, C) and (N,), and of excitation, the weight of
    which is transposed, (N, C) and (C,).
    """
    batch_size, height, width, channels = residual.shape
    library().add_residual(
        *(skip.data_ptr(), residual.data_ptr(), *(tensor.data_ptr() for tensor in gate)),
        *(batch_size, height * width, channels, len(gate[0]), scale),
    )
