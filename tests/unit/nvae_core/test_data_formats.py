"""Every published format gives the pixels that were put in, in the published splits."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_sources import (
    binary_batch,
    npz_bytes,
    png_bytes,
    python2_batch,
    python3_batch,
    random_images,
    read_all,
    to_planes,
    write_mnist,
    write_tar_gz,
    write_zip,
)
from PIL import Image

from nvae_core.config import (
    ArraySource,
    CelebAHQSource,
    CelebASource,
    Cifar10Source,
    FFHQSource,
    FolderSource,
    ImageNet32Source,
    MnistSource,
    ZipSource,
)
from nvae_core.data.dataset import Images
from nvae_core.data.sources.faces import FFHQ_SEED, TEST_SHARE
from nvae_core.data.sources.stream import split_indices


@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_is_read_from_idx_files(tmp_path: Path, zipped: bool) -> None:
    train, test = random_images(5, 28, 28), random_images(3, 28, 28, seed=1)
    folder = write_mnist(tmp_path / "mnist", train, test, zipped=zipped)
    splits = read_all(MnistSource(path=str(folder)))
    assert np.array_equal(splits["train"], train[..., None])
    assert np.array_equal(splits["test"], test[..., None])


def cifar10_batches() -> tuple[Images, dict[str, bytes]]:
    """Return 6 images, and the six files with one each, of Python 2 and of Python 3."""
    images = random_images(6, 32, 32, 3)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    batches = {name: python2_batch(images[i : i + 1]) for i, name in enumerate(names)}
    batches["data_batch_2"] = python3_batch(images[1:2], protocol=2)
    batches["data_batch_3"] = python3_batch(images[2:3], protocol=3)
    batches["data_batch_4"] = python3_batch(images[3:4], protocol=4)
    return images, {f"cifar-10-batches-py/{name}": batches[name] for name in sorted(batches)}


def binary_cifar10_batches() -> tuple[Images, dict[str, bytes]]:
    images = random_images(8, 32, 32, 3)  # three in the first batch
    parts = [images[:3], *(images[i : i + 1] for i in range(3, 8))]
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    files = {
        f"cifar-10-batches-bin/{name}": binary_batch(part, label=label)
        for label, (name, part) in enumerate(zip(names, parts, strict=True))
    }
    return images, files | {"cifar-10-batches-bin/batches.meta.txt": b"airplane\n"}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("make_batches", [cifar10_batches, binary_cifar10_batches])
def test_cifar10_is_read_from_its_archive_and_from_its_folder(
    tmp_path: Path, make_batches: Callable[[], tuple[Images, dict[str, bytes]]], packed: bool
) -> None:
    images, files = make_batches()
    if packed:
        path = write_tar_gz(tmp_path / "cifar-10.tar.gz", dict(reversed(files.items())))
    else:
        path = tmp_path
        (tmp_path / next(iter(files))).parent.mkdir()
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
    splits = read_all(Cifar10Source(path=str(path)))
    assert np.array_equal(splits["train"], images[:-1])
    assert np.array_equal(splits["test"], images[-1:])
    if not packed:  # the inner folder is one too
        inner = read_all(Cifar10Source(path=str((tmp_path / next(iter(files))).parent)))
        assert np.array_equal(inner["train"], images[:-1])


@pytest.mark.parametrize("form", ["pickled", "npz", "zips", "pickled and npz"])
def test_imagenet32_is_read_from_batches_and_from_their_zips(tmp_path: Path, form: str) -> None:
    images = random_images(11, 32, 32, 3)
    names = [*(f"train_data_batch_{number}" for number in range(1, 11)), "val_data"]
    files: dict[str, bytes] = {}
    if form.startswith("pickled"):
        files = {name: python3_batch(images[i : i + 1], 3) for i, name in enumerate(names)}
    if form != "pickled":
        labels, mean = np.zeros(1, np.int64), np.zeros(3072)
        files |= {
            f"{name}.npz": npz_bytes(data=to_planes(images[i : i + 1]), labels=labels, mean=mean)
            for i, name in enumerate(names)
        }
    if form == "zips":
        test = files.pop("val_data.npz")
        write_zip(tmp_path / "Imagenet32_train_npz.zip", files, method=zipfile.ZIP_STORED)
        write_zip(tmp_path / "Imagenet32_val_npz.zip", {"val_data.npz": test})
    else:
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
    splits = read_all(ImageNet32Source(path=str(tmp_path)))
    assert np.array_equal(splits["train"], images[:10])
    assert np.array_equal(splits["test"], images[10:])


def write_celeba(folder: Path, *, packed: bool) -> list[Images]:
    """Write four aligned images of 178x218, and return them."""
    images = [random_images(218, 178, 3, seed=seed) for seed in range(4)]
    files = {f"{number:06}.png": png_bytes(image) for number, image in enumerate(images, start=1)}
    if packed:
        write_zip(
            folder / "img_align_celeba.zip",
            {f"img_align_celeba/{name}": content for name, content in files.items()},
        )
    else:
        (folder / "img_align_celeba").mkdir()
        for name, content in files.items():
            (folder / "img_align_celeba" / name).write_bytes(content)
    lines = [f"{name} {part}\n" for name, part in zip(files, (0, 2, 1, 0), strict=True)]
    (folder / "Eval").mkdir()
    (folder / "Eval" / "list_eval_partition.txt").write_text("".join(lines))
    return images


def cropped(image: Images) -> Images:
    """Crop and resize step by step, as the papers describe it."""
    square = Image.fromarray(image).crop((15, 40, 163, 188))
    return np.asarray(square.resize((64, 64), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("packed", [False, True])
def test_celeba_is_cropped_and_divided_by_its_list(tmp_path: Path, packed: bool) -> None:
    images = write_celeba(tmp_path, packed=packed)
    splits = read_all(CelebASource(path=str(tmp_path)))
    assert list(splits) == ["train", "validation", "test"]
    assert np.array_equal(splits["train"], [cropped(images[0]), cropped(images[3])])
    assert np.array_equal(splits["validation"], [cropped(images[2])])
    assert np.array_equal(splits["test"], [cropped(images[1])])


def grey_files(names: list[str]) -> dict[str, bytes]:
    """Return images, each of one colour: its position in the list."""
    return {name: png_bytes(np.full((16, 16, 3), i, np.uint8)) for i, name in enumerate(names)}


def first_pixels(images: Images) -> list[int]:
    return [int(image[0, 0, 0]) for image in images]


def test_last_tenth_of_celeba_hq_by_number_is_the_test(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "hq.zip", grey_files([f"hq/{number}.png" for number in range(20)]))
    splits = read_all(CelebAHQSource(path=str(path), image_size=8))
    assert splits["train"].shape == (18, 8, 8, 3)
    assert first_pixels(splits["train"]) == list(range(18))
    assert first_pixels(splits["test"]) == [18, 19]


def test_folders_exported_from_glows_records_are_its_split(tmp_path: Path) -> None:
    names = ["celeba/train/b.png", "celeba/train/a.png", "celeba/validation/a.png"]
    path = write_zip(tmp_path / "hq.zip", grey_files(names))
    splits = read_all(CelebAHQSource(path=str(path), image_size=8))
    assert sorted(first_pixels(splits["train"])) == [0, 1]
    assert first_pixels(splits["test"]) == [2]


def test_split_of_ffhq_is_the_same_whatever_the_seed(tmp_path: Path) -> None:
    for name, content in grey_files([f"{i // 10:02}000/{i:05}.png" for i in range(30)]).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    source = FFHQSource(path=str(tmp_path), image_size=8)
    first, second = read_all(source, seed=1), read_all(source, seed=2)
    assert first_pixels(first["test"]) == first_pixels(second["test"])
    assert len(first["test"]) == 3
    assert sorted(first_pixels(first["train"]) + first_pixels(first["test"])) == list(range(30))


def test_split_of_the_whole_ffhq_never_changes() -> None:
    train, test = split_indices(70_000, TEST_SHARE, FFHQ_SEED)
    assert (len(train), len(test)) == (63_000, 7_000)
    assert test[:6].tolist() == [14, 15, 17, 30, 35, 36]
    assert test[-3:].tolist() == [69_981, 69_988, 69_993]


def test_zip_with_train_validation_and_test_is_read_like_a_folder(tmp_path: Path) -> None:
    names = ["set/train/b.png", "set/train/a.png", "set/validation/c.png", "set/test/d.png"]
    files = grey_files(names) | {"__MACOSX/set/train/._a.png": b"", "set/notes.txt": b"no image"}
    path = write_zip(tmp_path / "set.zip", files)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "folder")
    zipped = read_all(ZipSource(path=str(path), image_size=16))
    folder = read_all(FolderSource(path=str(tmp_path / "folder"), image_size=16))
    assert first_pixels(zipped["train"]) == [1, 0]
    assert first_pixels(zipped["validation"]) == [2]
    for split, images in zipped.items():
        assert np.array_equal(folder[split], images)


@pytest.mark.parametrize("shape", [(20, 6, 6), (20, 6, 6, 3), (20, 3, 6, 6)])
def test_array_is_split_by_the_seed_in_its_own_order(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    array = random_images(*shape)
    array.reshape(20, -1)[:, 0] = np.arange(20)
    np.save(tmp_path / "images.npy", array)
    (tmp_path / "images.npz").write_bytes(npz_bytes(images=array))
    source = ArraySource(path=str(tmp_path / "images.npy"), test_fraction=0.25)
    splits = read_all(source, seed=3)
    assert len(splits["test"]) == 5
    for images in splits.values():
        assert first_pixels(images) == sorted(first_pixels(images))
    images = np.concatenate([splits["train"], splits["test"]])
    images = images[np.argsort(first_pixels(images))]
    expected = array[..., None] if array.ndim == 3 else array
    expected = expected if expected.shape[3] != 6 else expected.transpose(0, 2, 3, 1)
    assert np.array_equal(images, expected)
    zipped = read_all(source.at(str(tmp_path / "images.npz")), seed=3)
    assert np.array_equal(zipped["test"], splits["test"])


def test_arrays_named_after_splits_are_the_splits(tmp_path: Path) -> None:
    train, test = random_images(4, 8, 8), random_images(2, 8, 8, seed=1)
    labels = np.zeros(4)
    (tmp_path / "a.npz").write_bytes(npz_bytes(train=train, test=test, labels=labels))
    splits = read_all(ArraySource(path=str(tmp_path / "a.npz")))
    assert np.array_equal(splits["train"], train[..., None])
    assert np.array_equal(splits["test"], test[..., None])
