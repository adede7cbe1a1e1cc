"""The end of a residual cell by a kernel of ours: an image is gated while it is in the cache."""

from torch import Tensor

from nvae_core.kernels.library import library

GateParameters = tuple[Tensor, Tensor, Tensor, Tensor]


def add_residual(
    skip: Tensor,
    given: Tensor,
    affine: tuple[Tensor, Tensor],
    gate: GateParameters | None,
    factor: float,
) -> None:
    """Turn what is given (B, H, W, C) into skip + factor gate residual; both are contiguous.

    The residual is scale given + shift, `affine`, both (C,). `gate` has the weights and biases of
    squeeze, (N, C) and (N,), and of excitation, the weight of which is transposed, (N, C) and (C,).
    """
    batch_size, height, width, channels = given.shape
    pointers = [None] * 4 if gate is None else [tensor.data_ptr() for tensor in gate]
    num_hidden = 0 if gate is None else len(gate[0])
    library().add_residual(
        *(skip.data_ptr(), given.data_ptr(), *(tensor.data_ptr() for tensor in affine), *pointers),
        *(batch_size, height * width, channels, num_hidden, factor),
    )
