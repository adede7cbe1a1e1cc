"""What this machine offers: GPUs, or where there are none, shares of its cores."""

import os
import subprocess
from dataclasses import dataclass

from services.settings import WorkerSettings


@dataclass(frozen=True)
class SlotInventory:
    """Kind and number of the slots, and the threads each may use."""

    kind: str  # gpu or cpu
    num_slots: int
    threads_per_slot: int


def take_inventory(settings: WorkerSettings) -> SlotInventory:
    """Count GPUs with nvidia-smi, never with torch; a setting for the number of slots wins."""
    num_cores = len(os.sched_getaffinity(0))
    num_gpus = _count_gpus()
    num_slots = settings.slots or num_gpus or num_cores
    return SlotInventory(
        kind="gpu" if num_gpus else "cpu",
        num_slots=num_slots,
        threads_per_slot=max(1, num_cores // num_slots),
    )


def _count_gpus() -> int:
    try:
        listing = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines())
