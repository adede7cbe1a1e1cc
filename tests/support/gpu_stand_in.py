"""A driver for NVIDIA GPUs that only counts: `pynvml` for processes that find it on their path."""

from pathlib import Path

PROGRAM = """
class NVMLError(Exception):
    pass


class NVMLError_LibraryNotFound(NVMLError):
    pass


class NVMLError_NoPermission(NVMLError):
    pass


def nvmlInit():
    pass


def nvmlShutdown():
    pass


def nvmlDeviceGetCount():
    return {num_gpus}


def nvmlDeviceGetHandleByIndex(index):
    return index
"""


def write_driver(folder: Path, *, num_gpus: int) -> None:
    """Write the module, for a folder that is put in front of PYTHONPATH."""
    (folder / "pynvml.py").write_text(PROGRAM.format(num_gpus=num_gpus))
