"""A preparation takes little memory, reports, and leaves everything or nothing."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from image_sources import png_bytes, random_images, write_zip

from nvae_core.config import ArraySource, DatasetSource, FolderSource, PrepareDatasetConfig
from nvae_core.data import prepare as prepare_module
from nvae_core.data.dataset import DatasetManifest, open_prepared, read_manifest
from nvae_core.data.errors import InvalidDataset
from nvae_core.data.order import DataOrder
from nvae_core.data.prepare import prepare_dataset, write_prepared
from nvae_core.data.sources.stream import stream_arrays
from nvae_core.run_directory import MetricsLine, NoticeLine, RunDirectory, StartedLine

MIB = 2**20
SMALL_SHARE_BYTES = 24 * MIB  # of the 96 MiB of images


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    (tmp_path / "run").mkdir()
    return RunDirectory(tmp_path / "run")


def prepare(run: RunDirectory, source: DatasetSource, **fields: object) -> DatasetManifest:
    return prepare_dataset(
        PrepareDatasetConfig.model_validate({"source": source.model_dump(), **fields}), run
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nineteen images, and one file that is none."""
    (tmp_path / "images").mkdir()
    for number in range(20):
        (tmp_path / "images" / f"{number:02}.png").write_bytes(png_bytes(random_images(8, 8, 3)))
    (tmp_path / "images" / "07.png").write_bytes(b"no image")
    return tmp_path / "images"


def test_unreadable_images_are_left_out_and_listed_where_that_is_allowed(
    run: RunDirectory, folder: Path
) -> None:
    source = FolderSource(path=str(folder), image_size=8, max_unreadable_fraction=0.05)
    manifest = prepare(run, source)
    assert manifest.num_unreadable == 1
    assert manifest.unreadable[0].startswith("07.png: is not an image in BMP, GIF, JPEG, PNG, ")
    assert sum(split.num_images for split in manifest.splits.values()) == 19
    for split in ("train", "test"):  # their hashes too
        assert len(open_prepared(run.dataset, split).images) == manifest.splits[split].num_images  # type: ignore[index,arg-type]
    [notice] = [line for _, line in run.read_progress() if isinstance(line, NoticeLine)]
    assert notice.message.startswith("1 image files could not be read")


def test_more_unreadable_images_than_allowed_leave_nothing(run: RunDirectory, folder: Path) -> None:
    (folder / "08.png").write_bytes(b"no image")
    source = FolderSource(path=str(folder), image_size=8, max_unreadable_fraction=0.05)
    with pytest.raises(InvalidDataset, match=r"07\.png: .*; 08\.png: .* \(2 unreadable, 1 allowed"):
        prepare(run, source)
    assert [path.name for path in run.path.iterdir()] == ["progress.jsonl"]


def test_split_without_a_readable_image_is_refused(run: RunDirectory, tmp_path: Path) -> None:
    files = {"train/a.png": png_bytes(random_images(8, 8)), "test/a.png": b"no image"}
    path = write_zip(tmp_path / "a.zip", files)
    source = {"kind": "zip", "path": str(path), "image_size": 8, "max_unreadable_fraction": 0.5}
    with pytest.raises(InvalidDataset, match="no image of the split 'test' can be read"):
        prepare_dataset(PrepareDatasetConfig.model_validate({"source": source}), run)


def test_progress_counts_the_images_of_all_splits(
    run: RunDirectory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(prepare_module, "REPORT_SECONDS", 0.0)
    np.save(tmp_path / "a.npy", random_images(3000, 64, 64))
    prepare(run, ArraySource(path=str(tmp_path / "a.npy")))
    started, *rest = [line for _, line in run.read_progress()]
    assert isinstance(started, StartedLine)
    assert started.num_steps == 3000
    metrics = [line for line in rest if isinstance(line, MetricsLine)]
    counts = [line.step for line in metrics]
    assert len(counts) > 3
    assert counts == sorted(counts)
    assert counts[-1] == metrics[-1].values["num_images"] == 3000
    assert "3000 of 3000 images" in capsys.readouterr().err


def test_path_starts_at_the_run_directory_and_its_origin_is_recorded(
    run: RunDirectory, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", random_images(20, 8, 8))
    manifest = prepare(run, ArraySource(path="../a.npy"), origin="s3://bucket/datasets/a.npy")
    assert manifest.source == ArraySource(path="s3://bucket/datasets/a.npy")
    assert read_manifest(run.dataset) == manifest


def test_source_in_s3_is_not_read_without_the_service(run: RunDirectory) -> None:
    with pytest.raises(InvalidDataset, match=r"^source\.path: .* fetched by the service"):
        prepare(run, ArraySource(path="s3://bucket/a.npy"))


def test_images_that_do_not_fit_on_the_disk_are_refused_at_once(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 100

    monkeypatch.setattr("shutil.disk_usage", lambda _folder: Usage)
    np.save(tmp_path / "a.npy", random_images(20, 8, 8))
    with pytest.raises(OSError, match="the images take 1280 bytes, and the disk has 100 left"):
        prepare(run, ArraySource(path=str(tmp_path / "a.npy")))


def test_split_file_is_what_numpy_writes(tmp_path: Path) -> None:
    images = random_images(7, 4, 4, 3)
    np.save(tmp_path / "numpy.npy", images)
    write_prepared(
        tmp_path / "dataset",
        stream_arrays(train=images, test=images),
        FolderSource(path="images", image_size=4),
    )
    written = (tmp_path / "dataset" / "train.npy").read_bytes()
    assert written == (tmp_path / "numpy.npy").read_bytes()


def test_neither_preparing_nor_loading_takes_the_memory_of_the_images(
    run: RunDirectory, tmp_path: Path
) -> None:
    path = tmp_path / "a.npy"
    stored = np.lib.format.open_memmap(path, "w+", np.uint8, (8192, 64, 64, 3))  # type: ignore[no-untyped-call]
    del stored
    assert path.stat().st_size > 96 * MIB
    tracemalloc.start()
    try:
        prepare(run, ArraySource(path=str(path)))
        train = open_prepared(run.dataset, "train")
        order = DataOrder(len(train.images), global_batch_size=64, seed=0)
        for step in range(20):
            assert train.images[order.global_batch(step)].shape == (64, 64, 64, 3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < SMALL_SHARE_BYTES


def test_manifests_of_before_are_read(dataset: Path) -> None:
    manifest = json.loads((dataset / "dataset.json").read_text())
    for name in ("licence", "num_unreadable", "unreadable"):
        del manifest[name]
    (dataset / "dataset.json").write_text(json.dumps(manifest))
    assert read_manifest(dataset).num_unreadable == 0
