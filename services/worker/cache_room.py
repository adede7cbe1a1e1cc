"""Room in the node's input cache: what was not wanted for longest goes first."""

import errno
import fcntl
import shutil

import structlog

from services.worker.cache_entries import CacheEntry, list_entries

log = structlog.get_logger()


def make_room(entry: CacheEntry, *, size_bytes: int, missing_bytes: int, budget_bytes: int) -> None:
    """Reserve room for a locked entry; what nobody uses goes for it.

    Args:
        entry: that is going to be filled.
        size_bytes: of the whole folder.
        missing_bytes: of it, what is still to be written.
        budget_bytes: of all folders together.

    Raises:
        OSError: "no space left": it is too large, or too much of the rest is in use.
    """
    with (entry.cache / ".room.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two that reserve at once would see the same room
        others = [other for other in list_entries(entry.cache) if other.key != entry.key]
        others.sort(key=CacheEntry.last_wanted_at)
        while True:
            free_bytes = shutil.disk_usage(entry.cache).free
            free_bytes -= sum(other.pending_bytes() for other in others)
            room_bytes = budget_bytes - sum(other.size_bytes() for other in others)
            if size_bytes <= room_bytes and missing_bytes <= free_bytes:
                entry.reserve(size_bytes)
                return
            evicted = None
            if size_bytes <= budget_bytes:  # else nothing would help
                evicted = next((other for other in others if other.evict()), None)
            if evicted is None:
                raise OSError(
                    errno.ENOSPC,
                    f"{entry.key} has {size_bytes} bytes, and there is no room for it: of"
                    f" {budget_bytes} bytes for inputs (NVAE_WORKER_CACHE_BYTES) {room_bytes} are"
                    f" left, and of the disk {free_bytes}",
                )
            log.info("input.evicted", key=evicted.key)
            others.remove(evicted)
