"""What this machine offers: GPUs, or where there are none, shares of its cores."""

import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import psutil
import pynvml

from services.settings import WorkerSettings
from services.worker.gpus import Visible, read_gpus, visible_devices

CGROUP = Path("/sys/fs/cgroup")  # of version 2, as a container sees its own


@dataclass(frozen=True)
class SlotInventory:
    """Kind and number of the slots, and the node's memory.

    Attributes:
        kind: gpu or cpu.
        num_slots: how many.
        memory_bytes: of the node.
        devices: UUIDs of the GPUs or MIG slices, one for each slot; None where slots are cores.
        faults: why there are fewer slots than there could be.
    """

    kind: str
    num_slots: int
    memory_bytes: int
    devices: tuple[str, ...] | None = None
    faults: tuple[str, ...] = ()


def take_inventory(settings: WorkerSettings, *, nvml: ModuleType = pynvml) -> SlotInventory:
    """Count the devices of the driver that CUDA_VISIBLE_DEVICES leaves; blocks.

    A setting may offer fewer. Cores are offered where there is no driver or no GPU, or where all
    are hidden; a driver that fails leaves a node of GPUs that offers those that answer, or none.

    Raises:
        ValueError: the setting offers more slots than there are GPUs, and none of them fails.
    """
    reading = read_gpus(nvml)
    visible = visible_devices(reading.gpus, settings.cuda_visible_devices)
    has_gpus = bool(reading.faults) or any(reading.gpus)
    if not has_gpus or visible.hides_all:
        return SlotInventory("cpu", settings.slots or usable_cores(), usable_memory_bytes())
    faults = (*reading.faults, *([visible.fault] if visible.fault else []))
    devices = _limit(visible, settings.slots, is_failing=bool(faults))
    return gpu_inventory(devices, faults)


def gpu_inventory(devices: tuple[str, ...], faults: tuple[str, ...]) -> SlotInventory:
    """Return the inventory of a node with these GPUs, which may be none."""
    return SlotInventory("gpu", len(devices), usable_memory_bytes(), devices, faults)


def _limit(visible: Visible, slots: int | None, *, is_failing: bool) -> tuple[str, ...]:
    num_gpus = len(visible.devices)
    if slots and slots > num_gpus and not is_failing:
        raise ValueError(f"NVAE_WORKER_SLOTS is {slots}, and there are {num_gpus} GPUs")
    return visible.devices[:slots]


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
