"""What a source may claim: a small file must not become a full disk."""

import errno
import shutil
from pathlib import Path

from nvae_core.data.invalid import InvalidDataset

MAX_INFLATION = 100  # of compressed files; photographs reach 1.1, drawings 20
FREE_INFLATION_BYTES = 2**30  # what any compressed file may become


def check_inflation(num_stored_bytes: int, num_claimed_bytes: int, *, name: str) -> None:
    """Refuse a compressed file that becomes much larger than real images do.

    Raises:
        InvalidDataset: it does; the message has the name.
    """
    if num_claimed_bytes > max(FREE_INFLATION_BYTES, MAX_INFLATION * num_stored_bytes):
        raise InvalidDataset(
            f"source.path: {name} claims {num_claimed_bytes} bytes but is {num_stored_bytes} "
            f"compressed: that is more than {MAX_INFLATION} times"
        )


def check_disk(folder: Path, num_bytes: int) -> None:
    """Refuse what does not fit on the disk that holds the folder.

    Raises:
        OSError: there is not enough space, as if it had been tried.
    """
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        message = f"the images take {num_bytes} bytes, and the disk has {free} left"
        raise OSError(errno.ENOSPC, message)
