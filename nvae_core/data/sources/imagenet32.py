"""ImageNet at 32x32: ten training batches and one for validation, which is the test."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from nvae_core.data.archives import FolderFiles, ZipFiles, list_zip
from nvae_core.data.dataset import SplitName
from nvae_core.data.errors import InvalidDataset
from nvae_core.data.sources.cifar10 import BatchFile, stream_batches
from nvae_core.data.sources.stream import ImageStream

BATCH = re.compile(r"(train_data_batch_\d{1,2}|val_data)(\.npz)?")
TRAIN = re.compile(r"train_data_batch_(\d{1,2})")
TEST = "val_data"
NUM_TRAIN_BATCHES = 10
MAX_BATCH_BYTES = 2**30
LICENCE = "ImageNet: non-commercial research and education only (image-net.org, terms of access)"


def open_imagenet32(path: Path, scratch: Path) -> ImageStream:
    """Open the batches that lie below a folder, or in zips that do.

    One that is there both pickled and as an npz counts once.
    """
    batches = {name.removesuffix(".npz"): batch for name, batch in _find_batches(path, scratch)}
    train = {
        int(match[1]): batch for name, batch in batches.items() if (match := TRAIN.fullmatch(name))
    }
    test = [batches[TEST]] if TEST in batches else []
    if sorted(train) != list(range(1, NUM_TRAIN_BATCHES + 1)) or len(test) != 1:
        message = f"{len(train)} batches train_data_batch_<1 to 10> and {len(test)} val_data found"
        raise InvalidDataset(f"source.path: {message}, not 10 and 1")
    splits: dict[SplitName, list[BatchFile]] = {
        "train": [train[number] for number in sorted(train)],
        "test": test,
    }
    return stream_batches(splits, licence=LICENCE)


def _find_batches(path: Path, scratch: Path) -> Iterator[tuple[str, BatchFile]]:
    for name in FolderFiles(path).names():
        last = PurePosixPath(name).name
        if BATCH.fullmatch(last):
            yield last, BatchFile(path / name)
        elif last.endswith(".zip"):
            for entry in list_zip(path / name):
                inner = PurePosixPath(entry).name
                if BATCH.fullmatch(inner):
                    copy = scratch / inner
                    yield inner, BatchFile(copy, partial(_unzipped, path / name, entry, copy))


@contextmanager
def _unzipped(archive: Path, entry: str, copy: Path) -> Iterator[None]:
    with (
        closing(ZipFiles(archive)) as files,
        files.copied(entry, copy, max_bytes=MAX_BATCH_BYTES),
    ):
        yield
