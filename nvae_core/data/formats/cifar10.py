"""CIFAR-10's python version."""

from contextlib import nullcontext
from pathlib import Path

from nvae_core.data.files.tar_archive import unpack_files
from nvae_core.data.formats.batches import BatchFile, stream_batches
from nvae_core.data.invalid import InvalidDataset
from nvae_core.data.streams import ImageStream, SplitName

FOLDER = "cifar-10-batches-py"
FILES: dict[SplitName, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
    "test": ("test_batch",),
}
LICENCE = "CIFAR-10: no licence stated; its authors ask to be cited (Krizhevsky, 2009)"


def open_cifar10(path: Path, scratch: Path) -> ImageStream:
    """Open the batches of both splits, unpacking the archive into `scratch` if it is one."""
    if path.is_file():
        unpack_files(path, {name for names in FILES.values() for name in names}, scratch)
        folder = scratch
    else:
        folder = path / FOLDER if (path / FOLDER).is_dir() else path
    batches = {split: [_find(folder, name) for name in names] for split, names in FILES.items()}
    return stream_batches(batches, licence=LICENCE)


def _find(folder: Path, name: str) -> BatchFile:
    path = folder / name
    if not path.is_file():
        raise InvalidDataset(f"source.path: {name} is missing")
    return BatchFile(name, lambda: nullcontext(path))
