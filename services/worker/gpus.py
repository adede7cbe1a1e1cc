"""GPUs as NVIDIA's driver has them (NVML), never asked with torch: one device for each slot.

A device is known by its UUID: `GPU-…`, or `MIG-…` for a slice of a GPU in MIG mode. Numbers of
devices move when one is lost, UUIDs do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import pynvml


@dataclass(frozen=True)
class Gpu:
    """A GPU that answers: its UUID, and those of the devices that can be computed on."""

    uuid: str
    devices: tuple[str, ...]  # itself, or in MIG mode its slices


@dataclass(frozen=True)
class GpuReading:
    """What NVML said.

    Attributes:
        gpus: by NVML's index; None where it is hidden from this container, or does not answer.
        faults: what is broken, in words.
    """

    gpus: tuple[Gpu | None, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Visible:
    """The devices that `CUDA_VISIBLE_DEVICES` leaves, in its order."""

    devices: tuple[str, ...]
    hides_all: bool = False  # it says so: this machine is to compute on its cores
    fault: str | None = None


def read_gpus(nvml: ModuleType = pynvml) -> GpuReading:
    """Ask the driver; blocks, for long where a GPU is broken. Errors become faults."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError_LibraryNotFound:  # there is no driver
        return GpuReading()
    except nvml.NVMLError as error:
        return GpuReading(faults=(f"the driver does not answer: {error}",))
    try:
        return _read_each(nvml)
    except nvml.NVMLError as error:
        return GpuReading(faults=(f"the driver cannot count its GPUs: {error}",))
    finally:
        nvml.nvmlShutdown()


def _read_each(nvml: ModuleType) -> GpuReading:
    gpus: list[Gpu | None] = []
    faults = []
    for index in range(nvml.nvmlDeviceGetCount()):
        gpu = None
        try:
            gpu = _read_gpu(nvml, index)
        except nvml.NVMLError_NoPermission:  # it is counted, and hidden from this container
            pass
        except nvml.NVMLError as error:
            faults.append(f"GPU {index} does not answer: {error}")
        gpus.append(gpu)
    return GpuReading(tuple(gpus), tuple(faults))


def _read_gpu(nvml: ModuleType, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    uuid = nvml.nvmlDeviceGetUUID(handle)
    try:
        current_mode, _ = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError_NotSupported:
        current_mode = nvml.NVML_DEVICE_MIG_DISABLE
    if current_mode != nvml.NVML_DEVICE_MIG_ENABLE:
        return Gpu(uuid, (uuid,))
    slices = []
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            slice_handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
        except nvml.NVMLError_NotFound:  # no slice has this number
            continue
        slices.append(nvml.nvmlDeviceGetUUID(slice_handle))
    return Gpu(uuid, tuple(slices))


def visible_devices(gpus: Sequence[Gpu | None], setting: str | None) -> Visible:
    """Return the devices that the operator's `CUDA_VISIBLE_DEVICES` leaves; None leaves all.

    CUDA's rules: a list of indices, UUIDs, or beginnings of UUIDs that are of one device only. The
    first entry that is none of these ends the list, and with an entry twice it is empty. The index
    or UUID of a GPU in MIG mode stands for all its slices.
    """
    present = [gpu for gpu in gpus if gpu is not None]
    if setting is None:
        return Visible(tuple(device for gpu in present for device in gpu.devices))
    entries = [entry.strip() for entry in setting.split(",")]
    if entries[0] in {"", "-1", "NoDevFiles"}:
        return Visible((), hides_all=True)
    devices: list[str] = []
    for entry in entries:
        matching = _match(gpus, entry)
        if matching is None:
            fault = f"CUDA_VISIBLE_DEVICES={setting}: {entry!r} is no GPU here, the rest is ignored"
            return Visible(tuple(devices), fault=fault)
        if set(matching) & set(devices):
            return Visible((), fault=f"CUDA_VISIBLE_DEVICES={setting}: {entry!r} is there twice")
        devices += matching
    return Visible(tuple(devices))


def _match(gpus: Sequence[Gpu | None], entry: str) -> tuple[str, ...] | None:
    """Return the devices of an entry, or None where it is not valid."""
    if entry.isdecimal():
        index = int(entry)
        if index >= len(gpus):
            return None
        gpu = gpus[index]
        return gpu.devices if gpu is not None else ()  # it is there, and does not answer
    by_uuid: dict[str, tuple[str, ...]] = {}
    for gpu in gpus:
        if gpu is not None:
            by_uuid |= {device: (device,) for device in gpu.devices} | {gpu.uuid: gpu.devices}
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    matching = [devices for uuid, devices in by_uuid.items() if uuid.startswith(entry)]
    return matching[0] if len(matching) == 1 else by_uuid.get(entry)
