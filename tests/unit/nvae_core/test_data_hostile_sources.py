"""What hostile or damaged sources try, and what they are told; nothing is unpacked or executed."""

import gzip
import os
import pickle
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from image_sources import (
    binary_batch,
    idx_bytes,
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

from nvae_core.config import (
    ArraySource,
    CelebASource,
    Cifar10Source,
    ImageNet32Source,
    MnistSource,
    PathSource,
    ZipSource,
)
from nvae_core.data import archives
from nvae_core.data.errors import InvalidDataset

PNG = png_bytes(random_images(8, 8, 3))
GIB = 2**30


def refusal(source: PathSource) -> str:
    """Return the message with which a source is refused."""
    with pytest.raises(InvalidDataset) as caught:
        read_all(source)  # type: ignore[arg-type]
    assert str(caught.value).startswith("source.path: ")
    return str(caught.value)


def zip_source(path: Path) -> ZipSource:
    return ZipSource(path=str(path), image_size=8)


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "b/../../a.png", "..\\a.png"])
def test_zip_with_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "a.zip", {"good.png": PNG, name: PNG})
    assert "leads elsewhere" in refusal(zip_source(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zip"]


def test_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "entry link.png is a link" in refusal(zip_source(tmp_path / "a.zip"))


def test_zip_that_claims_to_become_huge_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.png": PNG})
    content = bytearray(path.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<I", 3 * GIB)
    path.write_bytes(bytes(content))
    assert f"claims {3 * GIB} bytes" in refusal(zip_source(path))


def test_image_that_inflates_beyond_its_limit_is_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.png": PNG, "bomb.png": bytes(300 * 2**20)})
    assert path.stat().st_size < 2**20
    message = refusal(zip_source(path))
    assert "bomb.png: its 314572800 bytes are more than" in message
    assert "a.png" not in message.replace("bomb.png", "")


def test_entry_that_is_longer_than_it_claims_is_cut_and_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.png": PNG, "bomb.png": bytes(2**22)})
    content = bytearray(path.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<I", 100)
    path.write_bytes(bytes(content))
    assert "bomb.png: Bad CRC-32" in refusal(zip_source(path))


def test_entries_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    pixels = png_bytes(random_images(64, 64, 3))
    path = write_zip(tmp_path / "a.zip", {"a.png": pixels}, method=zipfile.ZIP_STORED)
    content = path.read_bytes()
    directory, end = content.rindex(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
    entry = content[directory:end]
    entries = entry + entry.replace(b"a.png", b"b.png")
    ending = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(entries), directory, 0)
    path.write_bytes(content[:directory] + entries + ending)
    assert "overlap" in refusal(zip_source(path))


def test_zip_with_too_many_entries_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_ENTRIES", 2)
    path = write_zip(tmp_path / "a.zip", {f"{number}.png": PNG for number in range(3)})
    assert "more than 2 entries" in refusal(zip_source(path))


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive at all", PNG])
def test_file_that_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    assert "a.zip is damaged" in refusal(zip_source(tmp_path / "a.zip"))


def test_zip_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {f"{number}.png": PNG for number in range(9)})
    path.write_bytes(path.read_bytes()[:-30])
    assert "a.zip is damaged" in refusal(zip_source(path))


def test_idx_header_that_lies_about_the_count_is_refused(tmp_path: Path) -> None:
    images = random_images(4, 28, 28)
    folder = write_mnist(tmp_path / "mnist", images, images, zipped=False)
    path = folder / "train-images-idx3-ubyte"
    for num_claimed in (3, 5, 2**32 - 1):
        path.write_bytes(idx_bytes(images, num_claimed=num_claimed))
        assert f"claims {num_claimed} images" in refusal(MnistSource(path=str(folder)))


def test_gzip_with_more_or_fewer_images_than_it_claims_is_refused(tmp_path: Path) -> None:
    images = random_images(4, 28, 28)
    folder = write_mnist(tmp_path / "mnist", images, images)
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(images, num_claimed=5)))
    assert "ends in row 4 of 5" in refusal(MnistSource(path=str(folder)))
    path.write_bytes(gzip.compress(idx_bytes(images, num_claimed=3)))
    assert "more than the 3 images it claims" in refusal(MnistSource(path=str(folder)))
    path.write_bytes(gzip.compress(idx_bytes(images))[:-400])
    assert "is damaged or cut off" in refusal(MnistSource(path=str(folder)))


def test_gzip_bomb_is_refused_by_its_claim(tmp_path: Path) -> None:
    images = random_images(4, 28, 28)
    folder = write_mnist(tmp_path / "mnist", images, images)
    bomb = idx_bytes(np.zeros((1000, 28, 28), np.uint8), num_claimed=2 * GIB // 784)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bomb))
    assert "compressed: that is more than 100 times" in refusal(MnistSource(path=str(folder)))


class Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch executed",)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_pickle_that_calls_a_program_is_refused_and_calls_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(1, 6):
        batch = python3_batch(random_images(1, 32, 32, 3), 2)
        (tmp_path / f"data_batch_{number}").write_bytes(batch)
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": Attack()}, protocol))
    message = refusal(Cifar10Source(path=str(tmp_path)))
    assert "test_batch is damaged" in message
    assert "system, which is not allowed" in message or protocol in {0, 1}
    assert not (tmp_path / "executed").exists()


BATCH = python2_batch(random_images(2, 32, 32, 3))
BAD_BATCHES = {
    "cut off": BATCH[:-2000],
    "no pickle": b"\x80\x02not a pickle.",
    "a longer string than there is": BATCH.replace(
        b"T" + struct.pack("<I", 6144), b"T" + struct.pack("<I", 2**31 - 1)
    ),
    "more rows than there are": BATCH.replace(b"M\x02\x00M\x00\x0c", b"M\xff\xffM\x00\x0c"),
    "no rows": pickle.dumps({b"data": np.zeros((0, 3072), np.uint8)}, 2),
    "other columns": pickle.dumps({b"data": np.zeros((2, 100), np.uint8)}, 2),
    "other numbers": pickle.dumps({b"data": np.zeros((2, 3072), np.float32)}, 2),
    "objects": pickle.dumps({b"data": np.array([[{}] * 3072])}, 2),
    "columns first": pickle.dumps({b"data": np.zeros((2, 3072), np.uint8, order="F")}, 2),
    "no data": pickle.dumps({b"labels": [1, 2]}, 2),
    "a list": pickle.dumps([1, 2], 2),
    "keys that are slow to hash": b"\x80\x02}(K\x01" + b"\x85" * 50 + b"K\x01u.",
    "very many objects": b"\x80\x02(" + b"]" * 1_100_000 + b"l.",
    "very many objects in a frame": b"\x80\x04\x95"
    + struct.pack("<Q", 1_100_002)
    + (b"(" + b"]" * 1_100_000 + b"."),
    "a frame longer than the file": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"}.",
}


@pytest.mark.parametrize("case", BAD_BATCHES)
def test_bad_pickled_batch_is_refused(tmp_path: Path, case: str) -> None:
    for name in ("data_batch_1", *(f"data_batch_{number}" for number in range(2, 6))):
        (tmp_path / name).write_bytes(BATCH)
    (tmp_path / "test_batch").write_bytes(BAD_BATCHES[case])
    assert "test_batch is damaged" in refusal(Cifar10Source(path=str(tmp_path)))


ROWS = binary_batch(random_images(2, 32, 32, 3))
BAD_BINARIES = {
    "cut off": (ROWS[:-1], "has 6145 bytes, which are not rows of a label and 3072 bytes"),
    "empty": (b"", "has 0 bytes, which are not rows"),
    "another label": (ROWS[:3073] + b"\x0a" + ROWS[3074:], "has a label of 10, not 0 to 9"),
    "missing": (None, "is missing"),
}


@pytest.mark.parametrize("case", BAD_BINARIES)
def test_bad_binary_batch_is_named(tmp_path: Path, case: str) -> None:
    for name in ("test_batch", *(f"data_batch_{number}" for number in range(1, 6))):
        (tmp_path / f"{name}.bin").write_bytes(ROWS)
    content, problem = BAD_BINARIES[case]
    if content is None:
        (tmp_path / "data_batch_4.bin").unlink()
    else:
        (tmp_path / "data_batch_4.bin").write_bytes(content)
    assert f"data_batch_4.bin {problem}" in refusal(Cifar10Source(path=str(tmp_path)))


def test_names_in_a_tar_do_not_decide_where_files_go(tmp_path: Path) -> None:
    files = {f"../../{name}": BATCH for name in ("data_batch_1", "evil")}
    path = write_tar_gz(tmp_path / "a.tar.gz", files)
    assert "data_batch_2 is missing" in refusal(Cifar10Source(path=str(path)))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tar.gz"]


def test_tar_bomb_is_refused(tmp_path: Path) -> None:
    member = tarfile.TarInfo("data_batch_1")
    member.size = 8 * 2**30
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(member.tobuf())
        file.write(bytes(2**20))
    assert "data_batch_1 claims" in refusal(Cifar10Source(path=str(tmp_path / "a.tar.gz")))
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(PNG * 100))
    assert "b.tar.gz is damaged" in refusal(Cifar10Source(path=str(tmp_path / "b.tar.gz")))


def test_tar_of_very_many_members_is_refused(tmp_path: Path) -> None:
    files = {f"{number}": b"" for number in range(1001)}
    path = write_tar_gz(tmp_path / "a.tar.gz", files)
    assert "more than 1000 members" in refusal(Cifar10Source(path=str(path)))


def test_tar_with_a_huge_name_is_refused(tmp_path: Path) -> None:
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 2**32
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as file:
        file.write(name.tobuf(tarfile.GNU_FORMAT))
        for _ in range(300):
            file.write(bytes(2**20))
    message = refusal(Cifar10Source(path=str(tmp_path / "a.tar.gz")))
    assert "unpacks to more than 268435456 bytes" in message


def npy_bytes(header: str, body: bytes = bytes(64)) -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


BAD_ARRAYS = {
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (1, 8, 8), }",
    "floats": "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4, 4), }",
    "columns first": "{'descr': '|u1', 'fortran_order': True, 'shape': (1, 8, 8), }",
    "huge": "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 1024, 1024), }",
    "overflow": "{'descr': '|u1', 'fortran_order': False, 'shape': (2**33, 2**31, 4), }",
    "negative": "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 8, -8), }",
    "wide": "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 4, 16), }",
    "code": "__import__('os').system('touch executed')",
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_array_is_refused_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.npy"
    path.write_bytes(npy_bytes(BAD_ARRAYS[case]))
    assert "a.npy" in refusal(ArraySource(path=str(path)))
    assert not (tmp_path / "executed").exists()


def test_array_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", random_images(8, 8, 8))
    content = (tmp_path / "a.npy").read_bytes()
    for length in (0, 5, 100, len(content) - 1):
        (tmp_path / "a.npy").write_bytes(content[:length])
        assert "a.npy" in refusal(ArraySource(path=str(tmp_path / "a.npy")))


def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("a.npy", "a.npz", "a.zip", "train-images-idx3-ubyte"):
        os.mkfifo(tmp_path / name)
    for name in ("a.npy", "a.npz"):
        assert "there is no file" in refusal(ArraySource(path=str(tmp_path / name)))
    assert "there is no file" in refusal(zip_source(tmp_path / "a.zip"))
    assert "there is no train-images" in refusal(MnistSource(path=str(tmp_path)))


def test_npz_of_pickled_objects_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(npz_bytes(images=np.array([Attack()])))
    assert "is object in C order" in refusal(ArraySource(path=str(tmp_path / "a.npz")))


def test_npz_with_other_rows_than_imagenet32_is_refused(tmp_path: Path) -> None:
    rows = to_planes(random_images(1, 32, 32, 3))
    for number in range(1, 11):
        (tmp_path / f"train_data_batch_{number}.npz").write_bytes(npz_bytes(data=rows))
    (tmp_path / "val_data.npz").write_bytes(npz_bytes(data=rows[:, :100]))
    message = refusal(ImageNet32Source(path=str(tmp_path)))
    assert "val_data.npz has rows of (100,), not of 3072 bytes" in message


@pytest.mark.parametrize("name", ["val_data", "val_data.npz"])
def test_bad_batch_of_imagenet32_in_a_zip_is_named(tmp_path: Path, name: str) -> None:
    rows = to_planes(random_images(1, 32, 32, 3))
    for number in range(1, 11):
        (tmp_path / f"train_data_batch_{number}.npz").write_bytes(npz_bytes(data=rows))
    write_zip(tmp_path / "val.zip", {f"folder/{name}": b"PK no batch"})
    message = refusal(ImageNet32Source(path=str(tmp_path)))
    assert message.startswith(f"source.path: {name} is damaged")


def test_batch_of_imagenet32_that_is_missing_is_counted(tmp_path: Path) -> None:
    (tmp_path / "train_data_batch_1.npz").write_bytes(b"")
    message = refusal(ImageNet32Source(path=str(tmp_path)))
    assert "1 batches train_data_batch_<1 to 10> and 0 val_data found, not 10 and 1" in message


def test_list_of_celeba_cannot_name_files_outside_of_it(tmp_path: Path) -> None:
    (tmp_path / "outside.png").write_bytes(PNG)
    (tmp_path / "celeba" / "img_align_celeba").mkdir(parents=True)
    (tmp_path / "celeba" / "img_align_celeba" / "1.jpg").write_bytes(PNG)
    (tmp_path / "celeba" / "list_eval_partition.txt").write_text("../../outside.png 0\n1.jpg 2\n")
    message = refusal(CelebASource(path=str(tmp_path / "celeba")))
    assert "outside.png: is in list_eval_partition.txt, and is missing" in message


@pytest.mark.parametrize("line", ["000001.jpg", "000001.jpg 3", "a b c"])
def test_bad_line_in_the_list_of_celeba_is_numbered(tmp_path: Path, line: str) -> None:
    (tmp_path / "list_eval_partition.txt").write_text(f"1.jpg 0\n{line}\n")
    assert "list_eval_partition.txt, line 2" in refusal(CelebASource(path=str(tmp_path)))
