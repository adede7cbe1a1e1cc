"""What this machine offers: GPUs, or where there are none, shares of its cores."""

import subprocess
from dataclasses import dataclass

from services.settings import WorkerSettings
from services.worker.limits import usable_cores, usable_memory_bytes


@dataclass(frozen=True)
class SlotInventory:
    """Kind and number of the slots, the threads each may use, and the node's memory."""

    kind: str  # gpu or cpu
    num_slots: int
    threads_per_slot: int
    memory_bytes: int


def take_inventory(settings: WorkerSettings) -> SlotInventory:
    """Count GPUs with nvidia-smi, never with torch; a setting may offer fewer of them.

    Raises:
        ValueError: the setting offers more slots than there are GPUs.
        subprocess.SubprocessError: nvidia-smi is there and does not answer.
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
        listing = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=20, check=True
        )
    except FileNotFoundError:
        return 0
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines())
