"""CelebA, CelebA-HQ and FFHQ as their authors publish them, with the splits of the papers."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from nvae_core.config import CelebAHQSource, CelebASource, FFHQSource
from nvae_core.data.archives import FolderFiles, list_zip
from nvae_core.data.dataset import SplitName
from nvae_core.data.decoding.image import DecodePlan
from nvae_core.data.errors import InvalidDataset
from nvae_core.data.sources.image_files import find_images, find_splits, stream_image_files
from nvae_core.data.sources.stream import ImageStream, split_indices

CELEBA_BOX = (15, 40, 163, 188)  # left, top, right, bottom: the 148x148 of the papers
CELEBA_LIST = "list_eval_partition.txt"
CELEBA_IMAGES = "img_align_celeba"
CELEBA_PARTS: dict[str, SplitName] = {"0": "train", "1": "validation", "2": "test"}
MAX_LIST_BYTES = 64 * 2**20
TEST_SHARE = 0.1  # 3 000 of CelebA-HQ's 30 000, 7 000 of FFHQ's 70 000
FFHQ_SEED = 0

CELEBA_LICENCE = "CelebA: non-commercial research only (MMLAB, CUHK)"
CELEBA_HQ_LICENCE = "CelebA-HQ: CC BY-NC 4.0; the photographs as CelebA, non-commercial research"
FFHQ_LICENCE = "FFHQ: CC BY-NC-SA 4.0 (NVIDIA); each photograph has its author's licence"


def open_celeba(source: CelebASource, path: Path) -> ImageStream:
    """Open CelebA's aligned images, divided by its list, cropped and resized."""
    names = FolderFiles(path).names()
    splits = _read_partition(path, names)
    if any(name.startswith(f"{CELEBA_IMAGES}/") for name in names):
        images, root, listed = path, f"{CELEBA_IMAGES}/", names
    else:
        images = path / f"{CELEBA_IMAGES}.zip"
        listed = list_zip(images)
        root = f"{CELEBA_IMAGES}/" if listed and "/" in listed[0] else ""
    files = {split: [f"{root}{name}" for name in part] for split, part in splits.items() if part}
    missing = {name for part in files.values() for name in part} - set(listed)
    stream = stream_image_files(
        {split: [name for name in part if name not in missing] for split, part in files.items()},
        images,
        DecodePlan(source.image_size, 3, "bilinear", CELEBA_BOX),
        max_unreadable_fraction=source.max_unreadable_fraction,
        licence=CELEBA_LICENCE,
    )
    for name in sorted(missing):
        stream.unreadable.add(name, f"is in {CELEBA_LIST}, and is missing")
    stream.unreadable.check()  # before an hour of decoding
    return stream


def open_celeba_hq(source: CelebAHQSource, path: Path) -> ImageStream:
    """Open CelebA-HQ; `train` and `validation` folders, as exported from Glow's records, count."""
    images = _list_faces(path)
    splits = find_splits(images)
    if "test" not in splits and "validation" in splits:
        splits["test"] = splits.pop("validation")  # 3 000 images, and nothing else to test on
    if not {"train", "test"} <= set(splits):
        num_test = max(1, round(TEST_SHARE * len(images)))
        splits = {"train": images[:-num_test], "test": images[-num_test:]}
    return _stream_faces(source, path, splits, CELEBA_HQ_LICENCE)


def open_ffhq(source: FFHQSource, path: Path) -> ImageStream:
    """Open FFHQ; the split is drawn once and for all, not by the seed of the job."""
    images = _list_faces(path)
    train, test = split_indices(len(images), TEST_SHARE, FFHQ_SEED)
    splits: dict[SplitName, list[str]] = {
        "train": [images[i] for i in train],
        "test": [images[i] for i in test],
    }
    return _stream_faces(source, path, splits, FFHQ_LICENCE)


def _stream_faces(
    source: CelebAHQSource | FFHQSource,
    path: Path,
    splits: dict[SplitName, list[str]],
    licence: str,
) -> ImageStream:
    return stream_image_files(
        splits,
        path,
        DecodePlan(source.image_size, 3, "bilinear"),
        max_unreadable_fraction=source.max_unreadable_fraction,
        licence=licence,
    )


def _list_faces(path: Path) -> list[str]:
    names = FolderFiles(path).names() if path.is_dir() else list_zip(path)
    # By number: 2.png before 10.png, whether or not there are zeros in front.
    return sorted(find_images(names, path), key=_natural_order)


def _natural_order(name: str) -> tuple[int, str]:
    stem = PurePosixPath(name).stem
    digits = "".join(character for character in stem if character in "0123456789")
    return int(digits[:18] or 0), name


def _read_partition(path: Path, names: Sequence[str]) -> dict[SplitName, list[str]]:
    lists = [name for name in names if PurePosixPath(name).name == CELEBA_LIST]
    if not lists:
        raise InvalidDataset(f"source.path: there is no {CELEBA_LIST} in {path}")
    try:
        content = FolderFiles(path).read(lists[0], max_bytes=MAX_LIST_BYTES).decode()
    except (OSError, ValueError) as error:
        raise InvalidDataset(f"source.path: {CELEBA_LIST}: {error}") from error
    splits: dict[SplitName, list[str]] = {"train": [], "validation": [], "test": []}
    for number, line in enumerate(content.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or words[1] not in CELEBA_PARTS:
            message = f"{CELEBA_LIST}, line {number}: not a file name and 0, 1 or 2"
            raise InvalidDataset(f"source.path: {message}")
        splits[CELEBA_PARTS[words[1]]].append(words[0])
    return splits
