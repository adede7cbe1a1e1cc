"""The reason that `result.json` gives for an error, and its message.

torch has classes for few errors of a device; the others are told apart by their texts, which are
those of CUDA, cuDNN, cuBLAS, NCCL and gloo.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from nvae_core.checkpoint import CheckpointCorrupt
from nvae_core.config import TrainConfig
from nvae_core.data.errors import InvalidDataset
from nvae_core.distributed import NoGPU, RanksMissing
from nvae_core.estimate import estimate
from nvae_core.run_directory import ExitReason, InvalidRunDirectory, is_disk_full

GIB = 2**30
HANDLE_BYTES = GIB // 2  # a handle of cuDNN or cuBLAS that fails with less free lacked memory

CLASSES: Mapping[type[BaseException], ExitReason] = {
    InvalidRunDirectory: ExitReason.INVALID_CONFIG,
    InvalidDataset: ExitReason.INVALID_DATASET,
    CheckpointCorrupt: ExitReason.CHECKPOINT_CORRUPT,
    NoGPU: ExitReason.GPU_UNAVAILABLE,
    RanksMissing: ExitReason.RENDEZVOUS_TIMEOUT,
    torch.OutOfMemoryError: ExitReason.OUT_OF_MEMORY,
    MemoryError: ExitReason.OUT_OF_MEMORY,
}
WRONG_BUILD = (
    r"no kernel image is available",
    r"driver on your system is too old",
    r"driver version is insufficient",
    r"PTX was compiled with an unsupported toolchain",
    r"forward compatibility was attempted on non supported HW",
)
# Of a RuntimeError; the first that matches counts. One text may quote another: a communicator is
# aborted because of what happened to a device.
TEXTS: tuple[tuple[ExitReason, tuple[str, ...]], ...] = (
    (
        ExitReason.TRAINER_CRASHED,  # faults of the program
        (r"device-side assert triggered", r"ncclInvalidUsage", r"ncclInvalidArgument"),
    ),
    (
        ExitReason.OUT_OF_MEMORY,
        (
            r"out of memory",
            r"CU(DNN|BLAS|SOLVER|FFT|SPARSE)_(STATUS_)?ALLOC_FAILED",
            r"CUDNN_STATUS_INTERNAL_ERROR_(DEVICE|HOST)_ALLOCATION_FAILED",
            r"Failed to CUDA (host )?(calloc|malloc|alloc)",
            r"DefaultCPUAllocator",
            r"std::bad_alloc",
        ),
    ),
    (
        ExitReason.GPU_UNAVAILABLE,
        (
            r"no CUDA-capable device is detected",
            r"No CUDA GPUs are available",
            r"Found no NVIDIA driver",
            r"invalid device ordinal",
        ),
    ),
    (
        ExitReason.DEVICE_ERROR,
        (
            *WRONG_BUILD,
            r"illegal memory access",
            r"illegal instruction was encountered",
            r"misaligned address",
            r"invalid program counter",
            r"unspecified launch failure",
            r"launch timed out and was terminated",
            r"hardware (stack )?error",
            r"uncorrectable (ECC|NVLink) error",
            r"fallen off the bus",
            r"GPU is lost",
            r"\bXid\b",
            r"CUDA-capable devices? ?(\(s\) is/are|are) busy or unavailable",
            r"CUDA driver initialization failed",
            r"CUDA unknown error",
            r"Unexpected error from cudaGetDeviceCount",
            r"(CUDA error|Cuda failure)( \d+)?:? '?(unknown|initialization) error",
            r"system not yet initialized",  # without its fabric manager
            r"\bNVML\b|\bnvml[A-Z]|NVML_SUCCESS",
            r"CU(DNN|BLAS)_STATUS_(EXECUTION_FAILED|MAPPING_ERROR|ARCH_MISMATCH)",
            r"ncclUnhandledCudaError",
        ),
    ),
    (
        ExitReason.PEER_LOST,
        (
            r"\bgloo\b",
            r"NCCL communicator was aborted",
            r"ncclRemoteError",
            r"remote process exited or there was a network error",
            r"Watchdog caught collective operation timeout",
            r"socketProgress",
            r"Connection (reset|closed) by (remote )?peer",
        ),
    ),
)
# Also what follows from a lack of memory: the memory that is free tells them apart.
HANDLE_FAILED = re.compile(r"CU(DNN|BLAS)_STATUS_(NOT_INITIALIZED|INTERNAL_ERROR)\b")


class Memory(NamedTuple):
    """Of this rank's GPU, or of the machine where the rank computes on the CPU."""

    free_bytes: int
    total_bytes: int


def measure_memory() -> Memory | None:
    """Return what is free; None where the GPU, or the system, does not say so."""
    try:
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            return Memory(*torch.cuda.mem_get_info())
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return Memory(
            *(1024 * int(fields[name].split()[0]) for name in ("MemAvailable", "MemTotal"))
        )
    except (RuntimeError, OSError, LookupError):
        return None


def reason_for(
    error: BaseException,
    memory: Memory | None = None,
    reasons: Mapping[type[BaseException], ExitReason] = {},
) -> ExitReason:
    """Return the reason for an error; `reasons` are those of a program's own classes."""
    for kind, reason in {**reasons, **CLASSES}.items():
        if isinstance(error, kind):
            return reason
    if is_disk_full(error):
        return ExitReason.DISK_FULL
    if isinstance(error, RuntimeError):
        return _reason_by_text(error, memory)
    return ExitReason.TRAINER_CRASHED


def _reason_by_text(error: RuntimeError, memory: Memory | None) -> ExitReason:
    text = str(error)
    for reason, patterns in TEXTS:
        if any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns):
            return reason
    if HANDLE_FAILED.search(text):
        lacks_memory = memory is not None and memory.free_bytes < HANDLE_BYTES
        return ExitReason.OUT_OF_MEMORY if lacks_memory else ExitReason.DEVICE_ERROR
    if isinstance(error, torch.distributed.DistBackendError):
        return ExitReason.PEER_LOST
    return ExitReason.TRAINER_CRASHED


def describe(
    error: BaseException, reason: ExitReason, memory: Memory | None, config: object
) -> str:
    """Return the message for an error of a run with this configuration, if it was read."""
    if isinstance(error, OSError) and is_disk_full(error):
        return f"the disk is full: {error.strerror}"
    message = str(error) or type(error).__name__
    if reason == ExitReason.PEER_LOST:
        return f"another rank ended or does not answer, its log may say why: {message}"
    if reason == ExitReason.DEVICE_ERROR and re.search("|".join(WRONG_BUILD), message):
        build = f"torch {torch.__version__}, built for CUDA {torch.version.cuda}"
        return f"{build}, does not fit this GPU or its driver: {message}"
    if reason == ExitReason.OUT_OF_MEMORY:
        return "; ".join([message, *_describe_memory(memory, config)])
    return message


def _describe_memory(memory: Memory | None, config: object) -> list[str]:
    parts: list[str] = []
    if isinstance(config, TrainConfig):
        num_images = config.optimization.batch_size // config.compute.gradient_accumulation
        num_bytes = estimate(config.model).training_bytes(num_images)
        parts.append(f"the estimate for this batch is {num_bytes / GIB:.1f} GiB per rank")
    if memory is not None:
        free, total = memory.free_bytes / GIB, memory.total_bytes / GIB
        parts.append(f"{free:.1f} GiB of {total:.1f} are free")
    return parts
