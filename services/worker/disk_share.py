"""A job that fills the disk ends before it costs the others anything."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

LOOK_SECONDS = 5.0
RUNS_SHARE = 0.5  # of the disk; the other half is for the cache of inputs, and for who else uses it


@dataclass
class DiskShare:
    """How much of the disk the run directory of an attempt may take.

    Attributes:
        run: the run directory.
        limit_bytes: how much.
    """

    run: Path
    limit_bytes: int
    _look_at: float = 0.0

    @classmethod
    def of(cls, run: Path, *, num_slots: int, slots_of_node: int, given: int | None) -> "DiskShare":
        """Return the share of an attempt with so many of the node's slots.

        Args:
            run: the run directory.
            num_slots: of the attempt on this node.
            slots_of_node: all of them.
            given: bytes for each slot; none: the slots share half of the disk.
        """
        per_slot = given or int(RUNS_SHARE * shutil.disk_usage(run).total / slots_of_node)
        return cls(run, per_slot * num_slots)

    def look(self, now: float) -> str | None:
        """Return what is wrong, or None; now and then only, because it reads the folder."""
        if now < self._look_at:
            return None
        self._look_at = now + LOOK_SECONDS
        num_bytes = _size(self.run)
        if num_bytes <= self.limit_bytes:
            return None
        return (
            f"the run took {num_bytes} bytes of the disk, and its share is {self.limit_bytes}"
            " (NVAE_WORKER_RUN_BYTES_PER_SLOT): keep fewer checkpoints, or larger disks"
        )


def _size(folder: Path) -> int:
    """Return what the files take on the disk, which of a sparse one is less than its size."""
    num_bytes = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                num_bytes += 512 * os.lstat(Path(parent, name)).st_blocks
            except FileNotFoundError:  # the trainer has just dropped it
                continue
    return num_bytes
