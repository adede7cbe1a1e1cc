"""Finds the compiled kernels, and says for which tensors they can be used."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

POINTER, COUNT, FLOAT, FLAG = ctypes.c_void_p, ctypes.c_long, ctypes.c_float, ctypes.c_int
SIGNATURES: dict[str, list[Any]] = {
    "depthwise_weight_gradient": [POINTER] * 3 + [COUNT] * 4,
    "batch_norm_moments": [POINTER] * 3 + [COUNT] * 2,
    "batch_norm_forward": [POINTER] * 5 + [FLOAT, POINTER] + [COUNT] * 2 + [FLAG],
    "batch_norm_backward": [POINTER] * 6 + [FLOAT] + [POINTER] * 3 + [COUNT] * 2 + [FLAG] * 2,
    "batch_norm_finish": [POINTER] * 5 + [FLOAT] + [POINTER] * 3 + [COUNT] * 3,
}


def fits(x: Tensor) -> bool:
    """Whether the kernels can work on x: float32, channels_last, on a CPU, on one thread."""
    return (
        not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and torch.get_num_threads() == 1
        and find_library() is not None
        and x.is_contiguous(memory_format=torch.channels_last)
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
    for name, argument_types in SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = argument_types, None
    return loaded
