"""ImageNet at 32x32: ten training batches and one for validation, which is the test."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path, PurePosixPath

from nvae_core.data.archives import FolderFiles, ZipFiles, list_zip
from nvae_core.data.dataset import SplitName
from nvae_core.data.errors import InvalidDataset
from nvae_core.data.sources.cifar10 import BatchFile, stream_batches
from nvae_core.data.sources.stream import ImageStream

TRAIN = re.compile(r"train_data_batch_(\d{1,2})(\.npz)?")
TEST = re.compile(r"val_data(\.npz)?")
NUM_TRAIN_BATCHES = 10
MAX_BATCH_BYTES = 2**30
LICENCE = "ImageNet: non-commercial research and education only (image-net.org, terms of access)"


def open_imagenet32(path: Path, scratch: Path) -> ImageStream:
    """Open the batches that lie below a folder, or in zips that do."""
    batches = dict(_find_batches(path, scratch))
    train = {
        int(match[1]): batch for name, batch in batches.items() if (match := TRAIN.fullmatch(name))
    }
    test = [batch for name, batch in batches.items() if TEST.fullmatch(name)]
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
        if TRAIN.fullmatch(last) or TEST.fullmatch(last):
            yield last, BatchFile(last, _lying_at(path / name))
        elif last.endswith(".zip"):
            for entry in list_zip(path / name):
                inner = PurePosixPath(entry).name
                if TRAIN.fullmatch(inner) or TEST.fullmatch(inner):
                    yield inner, BatchFile(inner, partial(_unzipped, path / name, entry, scratch))


def _lying_at(path: Path) -> Callable[[], AbstractContextManager[Path]]:
    return lambda: nullcontext(path)


@contextmanager
def _unzipped(archive: Path, entry: str, scratch: Path) -> Iterator[Path]:
    with (
        closing(ZipFiles(archive)) as files,
        files.local_path(entry, scratch, max_bytes=MAX_BATCH_BYTES) as path,
    ):
        yield path
