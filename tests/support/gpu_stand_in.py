"""Stand-ins of NVIDIA's driver: `pynvml` as a module of this process, or for others on their path.

A GPU that cannot be asked raises the error of its name; one in MIG mode has a list of slices, None
where a number has no slice.
"""

from pathlib import Path
from types import ModuleType

FAILS = ("NotSupported", "NotFound", "NoPermission", "LibraryNotFound", "GpuIsLost", "Unknown")


def gpu_uuid(index):
    """Return the UUID of a GPU that has nothing special about it."""
    return f"GPU-{index:08x}-0000-0000-0000-000000000000"


def make_nvml(*gpus, init=None):
    """Return a module like `pynvml`.

    Args:
        gpus: for each a UUID, the name of its error, or UUID and slices of one in MIG mode.
        init: the name of the error of nvmlInit.
    """
    nvml = ModuleType("pynvml")
    nvml.NVMLError = type("NVMLError", (Exception,), {})
    for name in FAILS:
        setattr(nvml, f"NVMLError_{name}", type(name, (nvml.NVMLError,), {}))
    nvml.NVML_DEVICE_MIG_DISABLE, nvml.NVML_DEVICE_MIG_ENABLE = 0, 1

    def fail(name):
        raise getattr(nvml, f"NVMLError_{name}")(name)

    def get_handle(index):
        return fail(gpus[index]) if gpus[index] in FAILS else gpus[index]

    def get_mig_mode(handle):
        return (1, 1) if isinstance(handle, tuple) else fail("NotSupported")

    def get_slice(handle, number):
        return handle[1][number] or fail("NotFound")

    nvml.nvmlInit = lambda: fail(init) if init else None
    nvml.nvmlShutdown = lambda: None
    nvml.nvmlDeviceGetCount = lambda: len(gpus)
    nvml.nvmlDeviceGetHandleByIndex = get_handle
    nvml.nvmlDeviceGetUUID = lambda handle: handle[0] if isinstance(handle, tuple) else handle
    nvml.nvmlDeviceGetMigMode = get_mig_mode
    nvml.nvmlDeviceGetMaxMigDeviceCount = lambda handle: len(handle[1])
    nvml.nvmlDeviceGetMigDeviceHandleByIndex = get_slice
    return nvml


# torch finds no GPU however many this driver has: its programs may compute on the cores.
PROGRAMS_WITHOUT_GPUS = """
import os
os.environ.pop("NVAE_DEVICE", None)
"""
DRIVER = """
import sys
sys.path.append({support!r})
from gpu_stand_in import gpu_uuid, make_nvml
sys.modules[__name__] = make_nvml(*map(gpu_uuid, range({num_gpus})))
"""


def write_driver(folder, *, num_gpus):
    """Write the modules, for a folder that is put in front of PYTHONPATH."""
    driver = DRIVER.format(support=str(Path(__file__).parent), num_gpus=num_gpus)
    (folder / "pynvml.py").write_text(driver)
    (folder / "sitecustomize.py").write_text(PROGRAMS_WITHOUT_GPUS)
