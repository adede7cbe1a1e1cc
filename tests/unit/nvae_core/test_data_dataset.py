import json
import os
from pathlib import Path

import numpy as np
import pytest

from nvae_core.config import BundledSource
from nvae_core.data.dataset import open_prepared, read_manifest
from nvae_core.data.errors import InvalidDataset
from nvae_core.data.prepare import write_prepared
from nvae_core.data.sources.stream import stream_arrays

SOURCE = BundledSource(name="mnist_5k")
IMAGES = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4, 1)
SPLITS = stream_arrays(train=IMAGES[:2], test=IMAGES[2:])


def test_prepared_images_come_back_as_they_were(tmp_path: Path) -> None:
    manifest = write_prepared(tmp_path / "dataset", SPLITS, SOURCE)
    train = open_prepared(tmp_path / "dataset", "train")
    assert np.array_equal(train.images, IMAGES[:2])
    assert isinstance(train.images, np.memmap)
    assert train.manifest == manifest
    assert manifest.splits["test"].num_images == 1


def test_content_hash_depends_on_the_images_alone(tmp_path: Path) -> None:
    first = write_prepared(tmp_path / "first", SPLITS, SOURCE)
    second = write_prepared(tmp_path / "second", SPLITS, SOURCE)
    swapped = stream_arrays(train=IMAGES[1:], test=IMAGES[:1])
    third = write_prepared(tmp_path / "third", swapped, SOURCE)
    assert first.content_hash == second.content_hash != third.content_hash


def test_damage_is_detected_and_the_file_named(tmp_path: Path) -> None:
    write_prepared(tmp_path / "dataset", SPLITS, SOURCE)
    path = tmp_path / "dataset" / "train.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InvalidDataset, match=r"train\.npy: does not match"):
        open_prepared(tmp_path / "dataset", "train")
    open_prepared(tmp_path / "dataset", "test")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"dataset\.json: No such file"):
        read_manifest(tmp_path)
    write_prepared(tmp_path / "dataset", SPLITS, SOURCE)
    (tmp_path / "dataset" / "test.npy").unlink()
    with pytest.raises(InvalidDataset, match=r"test\.npy: No such file"):
        open_prepared(tmp_path / "dataset", "test")


def test_failure_while_writing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_prepared(tmp_path / "dataset", SPLITS, SOURCE)
    assert list(tmp_path.iterdir()) == []


def test_split_that_the_manifest_does_not_have_is_named(dataset: Path) -> None:
    manifest = json.loads((dataset / "dataset.json").read_text())
    del manifest["splits"]["test"]
    (dataset / "dataset.json").write_text(json.dumps(manifest))
    with pytest.raises(InvalidDataset, match="no split 'test'"):
        open_prepared(dataset, "test")
