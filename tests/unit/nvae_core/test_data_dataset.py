import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from nvae_core.config import BundledSource, RankPolicy, TrainConfig
from nvae_core.data.dataset import open_prepared, read_manifest
from nvae_core.data.errors import InvalidDataset
from nvae_core.data.prepare import write_prepared
from nvae_core.data.sources.stream import stream_arrays
from nvae_core.distributed import Ranks, join_ranks
from nvae_core.run_directory import RunDirectory
from nvae_core.training.batches import open_batches

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


def test_without_its_hash_a_file_is_checked_for_size_and_shape(tmp_path: Path) -> None:
    write_prepared(tmp_path / "dataset", SPLITS, SOURCE)
    path = tmp_path / "dataset" / "train.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes(1))
    assert len(open_prepared(tmp_path / "dataset", "train", verify=False).images) == 2
    path.write_bytes(content[:-1])
    with pytest.raises(InvalidDataset, match=r"train\.npy: does not match"):
        open_prepared(tmp_path / "dataset", "train", verify=False)
    path.write_bytes(content.replace(b"(2, 4, 4, 1)", b"(2, 2, 8, 1)"))
    with pytest.raises(InvalidDataset, match=r"train\.npy: is uint8 \(2, 2, 8, 1\), not uint8"):
        open_prepared(tmp_path / "dataset", "train", verify=False)


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


@pytest.mark.parametrize("rank", range(4))
def test_first_rank_of_each_node_finds_damage_and_the_others_do_not_read_for_it(
    run: RunDirectory, train_config: TrainConfig, dataset: Path, rank: int
) -> None:
    content = (dataset / "train.npy").read_bytes()
    (dataset / "train.npy").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    ranks = Ranks(rank, 4, torch.device("cpu"), local_rank=rank % 2)
    if rank in {1, 3}:
        images = open_batches(train_config, run, ranks).split.images
        assert len(images) == read_manifest(dataset).splits["train"].num_images
        return
    with pytest.raises(InvalidDataset, match=r"train\.npy: does not match the hash"):
        open_batches(train_config, run, ranks)


def test_local_rank_is_the_one_torchrun_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    with join_ranks(RankPolicy()) as ranks:
        assert ranks.is_first_of_node
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("NVAE_DEVICE", "cpu")
    with join_ranks(RankPolicy()) as ranks:
        assert not ranks.is_first_of_node
