"""Finds the compiled kernels, and says for which tensors they can be used."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SECONDS = ctypes.c_double
POINTER, COUNT, FLOAT, FLAG = ctypes.c_void_p, ctypes.c_long, ctypes.c_float, ctypes.c_int
NOTHING = None
SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "activate_values": (NOTHING, [POINTER] * 2 + [COUNT, FLAG]),
    "add_residual": (NOTHING, [POINTER] * 8 + [COUNT] * 4 + [FLOAT]),
    "adamax_update": (NOTHING, [POINTER] * 4 + [COUNT] + [FLOAT] * 5),
    "batch_norm_moments": (NOTHING, [POINTER] * 3 + [COUNT] * 2),
    "batch_norm_forward": (NOTHING, [POINTER] * 5 + [FLOAT, POINTER] + [COUNT] * 2 + [FLAG]),
    "batch_norm_backward": (
        NOTHING,
        [POINTER] * 6 + [FLOAT] + [POINTER] * 3 + [COUNT] * 2 + [FLAG],
    ),
    "batch_norm_finish": (
        NOTHING,
        [POINTER] * 6 + [FLOAT] + [POINTER] * 3 + [COUNT] * 3 + [FLAG],
    ),
    "channel_sums": (NOTHING, [POINTER] * 3 + [COUNT] * 3),
    "depthwise_forward": (NOTHING, [POINTER] * 3 + [COUNT] * 4 + [FLAG]),
    "depthwise_weight_gradient": (NOTHING, [POINTER] * 3 + [COUNT] * 4),
    "gather_causal": (NOTHING, [POINTER] * 2 + [COUNT] * 4 + [FLAG]),
    "log_prior": (NOTHING, [POINTER] * 3 + [COUNT] * 3),
    "logistic_mixture_log_prob": (NOTHING, [POINTER] * 3 + [COUNT] * 5 + [FLOAT]),
    "sample_posterior": (NOTHING, [POINTER] * 6 + [COUNT] * 3),
    "sample_prior": (NOTHING, [POINTER] * 2 + [FLOAT, POINTER] + [COUNT] * 3),
    "exchange": (
        COUNT,
        [POINTER] + [COUNT] * 4 + [POINTER] * 2 + [COUNT, FLAG, SECONDS],
    ),
    "normalized_depthwise_scratch": (COUNT, [COUNT] * 2),
    "normalized_depthwise_forward": (
        NOTHING,
        [POINTER] * 5 + [FLOAT] + [POINTER] * 9 + [COUNT] * 5 + [FLAG],
    ),
    "normalized_depthwise_backward": (
        NOTHING,
        [POINTER] * 8 + [COUNT] + [POINTER] * 5 + [FLOAT] + [POINTER] * 6 + [COUNT] * 5 + [FLAG],
    ),
    "power_iteration": (FLOAT, [POINTER] * 3 + [COUNT] * 3),
    "weight_norm_forward": (NOTHING, [POINTER] * 2 + [FLOAT] + [POINTER] * 2 + [COUNT] * 2),
    "weight_norm_backward": (NOTHING, [POINTER] * 4 + [FLOAT] + [POINTER] * 2 + [COUNT] * 2),
}


def fits(x: Tensor) -> bool:
    """Whether the kernels can work on x (B, C, H, W): `is_usable`, and it is channels_last."""
    return is_usable(x) and x.is_contiguous(memory_format=torch.channels_last)


def is_usable(x: Tensor) -> bool:
    """Whether the kernels can work on tensors like x: float32, on a CPU, on one thread."""
    return (
        not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and torch.get_num_threads() == 1
        and find_library() is not None
    )


def library() -> ctypes.CDLL:
    """Return the kernels, where `fits` said that they can be used."""
    found = find_library()
    assert found is not None
    return found


@cache
def find_library() -> ctypes.CDLL | None:
    """Return the kernels, or None where the package was installed without a compiler."""
    path = next(Path(__file__).parent.glob("_cpu*.so"), None)
    if path is None:
        return None
    loaded = ctypes.CDLL(str(path))
    for name, (result_type, argument_types) in SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result_type, argument_types
    return loaded
