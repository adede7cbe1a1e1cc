"""Small sources of images in every published format, and how tests read them."""

import gzip
import io
import pickle
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from nvae_core.config import DatasetSource
from nvae_core.data.dataset import Images, SplitName
from nvae_core.data.sources import open_source


def read_all(source: DatasetSource, *, seed: int = 0) -> dict[SplitName, Images]:
    """Return all images of a source, and check that none of its files was left out."""
    with tempfile.TemporaryDirectory() as scratch:
        stream = open_source(source, seed=seed, scratch=Path(scratch))
        batches = {name: list(part.read()) for name, part in stream.splits.items()}
        stream.unreadable.check()
    splits = {name: np.concatenate(parts) for name, parts in batches.items()}
    for name, part in stream.splits.items():
        assert len(splits[name]) == part.num_images
    return splits


def random_images(*shape: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def png_bytes(pixels: npt.NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def write_zip(
    path: Path, entries: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED
) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def idx_bytes(images: npt.NDArray[np.uint8], *, num_claimed: int | None = None) -> bytes:
    num_images, height, width = images.shape
    header = struct.pack(">4I", 0x0803, num_claimed or num_images, height, width)
    return header + images.tobytes()


def write_mnist(
    folder: Path, train: npt.NDArray[np.uint8], test: npt.NDArray[np.uint8], *, zipped: bool = True
) -> Path:
    folder.mkdir(exist_ok=True)
    for stem, images in (("train-images", train), ("t10k-images", test)):
        content = idx_bytes(images)
        name = f"{stem}-idx3-ubyte"
        (folder / f"{name}.gz").write_bytes(gzip.compress(content)) if zipped else (
            folder / name
        ).write_bytes(content)
    return folder


def to_planes(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Turn (N, 32, 32, 3) into the rows of CIFAR-10 and ImageNet 32."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2).reshape(len(images), -1))


def binary_batch(images: npt.NDArray[np.uint8], *, label: int = 9) -> bytes:
    """Return rows of a label and three planes, as in CIFAR-10's binary version."""
    rows = to_planes(images)
    return np.insert(rows, 0, label, axis=1).tobytes()


def python3_batch(images: npt.NDArray[np.uint8], protocol: int) -> bytes:
    batch = {
        "data": to_planes(images),
        "labels": [1] * len(images),
        "mean": np.zeros(3072),
    }
    return pickle.dumps(batch, protocol)


def python2_batch(images: npt.NDArray[np.uint8]) -> bytes:
    """Write what Python 2 wrote: protocol 2, and byte strings where there are bytes now."""

    def string(content: bytes) -> bytes:
        return b"U" + bytes([len(content)]) + content

    rows = to_planes(images)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n"
        + (b"cnumpy\nndarray\n" + b"K\x00\x85" + string(b"b") + b"\x87R")
        + (b"(K\x01M" + struct.pack("<H", len(rows)) + b"M\x00\x0c\x86")
        + (b"cnumpy\ndtype\n" + string(b"u1") + b"K\x00K\x01\x87R")
        + (b"(K\x03" + string(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
        + (b"\x89T" + struct.pack("<I", rows.nbytes) + rows.tobytes() + b"tb")
    )
    labels = string(b"labels") + b"](" + b"K\x06" * len(rows) + b"e"
    name = string(b"batch_label") + string(b"training batch 1 of 5")
    return b"\x80\x02}(" + name + labels + string(b"data") + array + b"u."


def write_tar_gz(path: Path, entries: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in entries.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def npz_bytes(**arrays: npt.NDArray[np.generic]) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()
