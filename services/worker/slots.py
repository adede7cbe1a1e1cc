"""What this machine offers: GPUs, or where there are none, shares of its cores."""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil
import pynvml

from services.settings import WorkerSettings

CGROUP = Path("/sys/fs/cgroup")  # of version 2, as a container sees its own


@dataclass(frozen=True)
class SlotInventory:
    """Kind and number of the slots, the threads each may use, and the node's memory."""

    kind: str  # gpu or cpu
    num_slots: int
    threads_per_slot: int
    memory_bytes: int


def take_inventory(settings: WorkerSettings) -> SlotInventory:
    """Count GPUs as NVIDIA's driver has them, never with torch; a setting may offer fewer.

    Raises:
        ValueError: the setting offers more slots than there are GPUs.
        pynvml.NVMLError: a driver is there and does not answer.
    """
    num_cores = usable_cores()
    num_gpus = _count_gpus()
    if settings.slots and num_gpus and settings.slots > num_gpus:
        raise ValueError(f"NVAE_WORKER_SLOTS is {settings.slots}, and there are {num_gpus} GPUs")
    num_slots = settings.slots or num_gpus or num_cores
    return SlotInventory(
        kind="gpu" if num_gpus else "cpu",
        num_slots=num_slots,
        threads_per_slot=max(1, num_cores // num_slots),
        memory_bytes=usable_memory_bytes(),
    )


def _count_gpus() -> int:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:  # there is no driver
        return 0
    try:
        return sum(_is_usable(index) for index in range(pynvml.nvmlDeviceGetCount()))
    finally:
        pynvml.nvmlShutdown()


def _is_usable(index: int) -> bool:
    try:
        pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError_NoPermission:  # it is counted, and hidden from this container
        return False
    return True


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Return the cores that may be used, one at least, rounded down."""
    num_cores = len(os.sched_getaffinity(0))
    match _read_cgroup(cgroup / "cpu.max"):
        case [quota, period] if quota != "max":
            return max(1, min(num_cores, int(quota) // int(period)))
    return num_cores


def usable_memory_bytes(cgroup: Path = CGROUP) -> int:
    """Return the bytes of memory that may be used."""
    num_bytes: int = psutil.virtual_memory().total
    match _read_cgroup(cgroup / "memory.max"):
        case [limit] if limit != "max":
            return min(num_bytes, int(limit))
    return num_bytes


def _read_cgroup(path: Path) -> list[str]:
    """Return the words of a file; none where it is not there."""
    try:
        return path.read_text().split()
    except OSError:
        return []
