from pathlib import Path

import numpy as np
import pytest
from image_sources import read_all
from PIL import Image

from nvae_core.config import BundledSource, FolderSource
from nvae_core.data.errors import InvalidDataset


def save_image(path: Path, *, color: int, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (color, 0, 0)).save(path)


def folder_source(path: Path, **fields: object) -> FolderSource:
    return FolderSource.model_validate({"path": str(path), "image_size": 4, **fields})


def test_bundled_digits_are_split_450_to_50_in_each_class() -> None:
    splits = read_all(BundledSource(name="mnist_5k"))
    assert splits["train"].shape == (4500, 28, 28, 1)
    assert splits["test"].shape == (500, 28, 28, 1)
    assert splits["train"].max() == 255
    # Ones have the least ink: the classes are in order, 450 and 50 each.
    assert splits["train"].reshape(10, 450, -1).mean(axis=(1, 2)).argmin() == 1
    assert splits["test"].reshape(10, 50, -1).mean(axis=(1, 2)).argmin() == 1


def test_train_and_test_folders_are_read_in_order_of_names(tmp_path: Path) -> None:
    for color, name in enumerate(("train/b.png", "train/a.png", "test/c.png")):
        save_image(tmp_path / name, color=100 + color)
    (tmp_path / "train" / "notes.txt").write_text("no image")
    splits = read_all(folder_source(tmp_path))
    assert splits["train"][:, 0, 0, 0].tolist() == [101, 100]
    assert splits["test"][:, 0, 0, 0].tolist() == [102]


def test_split_of_one_folder_depends_on_the_seed_alone(tmp_path: Path) -> None:
    for color in range(10):
        save_image(tmp_path / f"{color}.png", color=color * 10)
    source = folder_source(tmp_path, test_fraction=0.3)
    first, second = read_all(source, seed=1), read_all(source, seed=1)
    assert len(first["train"]) == 7
    assert len(first["test"]) == 3
    assert np.array_equal(first["test"], second["test"])
    together = np.concatenate([first["train"], first["test"]])[:, 0, 0, 0]
    assert sorted(together.tolist()) == [color * 10 for color in range(10)]


def test_images_are_cropped_at_the_centre(tmp_path: Path) -> None:
    pixels = np.zeros((4, 12), np.uint8)
    pixels[:, 4:8] = 255
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    for split in ("train", "test"):
        Image.fromarray(pixels).save(tmp_path / split / "wide.png")
    splits = read_all(folder_source(tmp_path, num_colors=1))
    assert splits["train"].shape == (1, 4, 4, 1)
    assert splits["train"].min() == 255


def test_every_unusable_image_is_named(tmp_path: Path) -> None:
    save_image(tmp_path / "good.png", color=1)
    save_image(tmp_path / "truncated.png", color=1, size=(64, 64))
    truncated = (tmp_path / "truncated.png").read_bytes()
    (tmp_path / "truncated.png").write_bytes(truncated[:60])
    (tmp_path / "text.jpg").write_text("this is no image")
    Image.new("1", (8193, 8192)).save(tmp_path / "huge.png")
    with pytest.raises(InvalidDataset) as caught:
        read_all(folder_source(tmp_path))
    message = str(caught.value)
    assert message.startswith("source.path: ")
    for name in ("truncated.png", "text.jpg", "huge.png: 8193x8192 is more than 64 megapixels"):
        assert name in message
    assert "good.png" not in message


def test_at_most_20_files_are_listed(tmp_path: Path) -> None:
    for index in range(25):
        (tmp_path / f"{index:02d}.png").write_text("broken")
    with pytest.raises(InvalidDataset, match="and 5 more files"):
        read_all(folder_source(tmp_path))


def test_missing_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"^source\.path: .* is not a folder"):
        read_all(folder_source(tmp_path / "absent"))
    with pytest.raises(InvalidDataset, match=r"^source\.path: there are no image files"):
        read_all(folder_source(tmp_path))


def test_images_are_read_as_a_viewer_shows_them(tmp_path: Path) -> None:
    upright = Image.new("L", (8, 8))
    upright.paste(255, (0, 0, 8, 4))  # white above, black below
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down
    upright.rotate(180).save(tmp_path / "0_rotated.png", exif=exif)
    ramp = (np.arange(64, dtype=np.uint16).reshape(8, 8)) * 1024
    Image.fromarray(ramp).save(tmp_path / "1_deep.png")
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "2_transparent.png")
    (tmp_path / "._0_rotated.png").write_bytes(b"left by a file manager")
    source = FolderSource(path=str(tmp_path), image_size=8, num_colors=1, test_fraction=0.4)
    splits = read_all(source)
    images = np.concatenate([splits["train"], splits["test"]])[..., 0]
    expected = [np.asarray(upright), (ramp >> 8).astype(np.uint8), np.full((8, 8), 255)]
    for wanted in expected:
        assert any((image == wanted).all() for image in images)


def test_pixels_without_a_range_are_refused(tmp_path: Path) -> None:
    Image.new("F", (8, 8)).save(tmp_path / "a.tiff")
    Image.new("L", (8, 8)).save(tmp_path / "b.png")
    source = FolderSource(path=str(tmp_path), image_size=8, num_colors=1)
    with pytest.raises(InvalidDataset, match=r"source\.path: a\.tiff: pixels of mode F"):
        read_all(source)
