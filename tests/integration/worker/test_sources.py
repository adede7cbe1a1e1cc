"""Sources are found below the node's folder, or copied from a real S3 server within limits."""

import dataclasses
import shutil
import threading
import time

import pytest

from nvae_core.config import ArraySource, FolderSource, PathSource
from services.database.session import new_id
from services.domain.errors import InvalidSpec
from services.local.servers import BUCKET
from services.settings import WorkerSettings
from services.storage.s3 import DamagedObject, S3Storage, StoredObject
from services.worker.folders import drop_large_files
from services.worker.inputs.cache import list_files
from services.worker.inputs.sources import SourceLocator, staging_folder


@pytest.fixture
def locate(storage, run_directory, tmp_path):
    """Return a function that finds a source as an attempt does, with these settings."""
    (tmp_path / "sources").mkdir()

    def locate(source: PathSource, **limits):
        settings = WorkerSettings(
            node_name="n1",
            data_folder=tmp_path,
            datasets_folder=tmp_path / "sources",
            **limits,
        )
        return SourceLocator(settings, staging_folder(run_directory), storage).locate(source)

    return locate


@pytest.fixture
def put(storage):
    """Return a function that stores objects below a new prefix and returns its URL."""
    prefix = f"datasets/{new_id('src')}/images"

    def put(**contents: bytes):
        for name, content in contents.items():
            storage._client.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=content)
        return f"s3://{BUCKET}/{prefix}"

    return put


def folder_at(url: str) -> FolderSource:
    return FolderSource(path=url, image_size=8)


def refusal(locate, source, **limits) -> str:
    with pytest.raises(InvalidSpec) as caught:
        locate(source, **limits)
    assert [problem.pointer for problem in caught.value.problems] == ["/source/path"]
    return caught.value.message


@pytest.mark.parametrize("path", ["../outside", "link", "/etc", "loop"])
def test_source_cannot_leave_the_folder_of_sources(locate, tmp_path, path):
    (tmp_path / "sources" / "link").symlink_to(tmp_path)
    (tmp_path / "sources" / "loop").symlink_to(tmp_path / "sources" / "loop")
    refusal(locate, folder_at(path))


def test_link_inside_a_source_cannot_lead_out(locate, tmp_path):
    images = tmp_path / "sources" / "images"
    images.mkdir()
    (tmp_path / "sources" / "shared.png").touch()
    (tmp_path / "secret.png").touch()
    (images / "shared.png").symlink_to("../shared.png")
    (images / "above").symlink_to(images)
    assert locate(folder_at("images")) == images
    (images / "secret.png").symlink_to(tmp_path / "secret.png")
    assert "the link 'images/secret.png' leads out" in refusal(locate, folder_at("images"))
    (images / "secret.png").unlink()
    (tmp_path / "sources" / "other").mkdir()
    (images / "other").symlink_to("../other")  # where nobody has looked for links
    assert "the link 'images/other' leads out" in refusal(locate, folder_at("images"))


def test_prefix_is_copied_with_its_folders(locate, put, run_directory):
    url = put(**{"a.png": b"a" * 1000, "train/b.png": b"b", "train/empty.png": b"", "c/": b""})
    path = locate(folder_at(f"{url}/"))
    assert path == staging_folder(run_directory) / "images"
    assert [file.name for file in list_files(path)] == ["a.png", "train/b.png", "train/empty.png"]
    assert (path / "a.png").read_bytes() == b"a" * 1000
    drop_large_files(run_directory)
    assert not path.exists()


def test_single_object_keeps_its_name(locate, put):
    content = bytes(range(256)) * 40_000  # large enough to come in parts
    path = locate(ArraySource(path=f"{put(**{'a.npy': content})}/a.npy"))
    assert path.name == "a.npy"
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "limits", [{"max_source_bytes": 14}, {"max_source_files": 2}], ids=["bytes", "files"]
)
def test_source_above_a_limit_is_refused_before_it_is_copied(locate, put, run_directory, limits):
    url = put(**{f"{number}.png": b"12345" for number in range(3)})
    [limit] = limits.values()
    assert f"has more than {limit}" in refusal(locate, folder_at(url), **limits)
    assert not staging_folder(run_directory).exists()
    locate(folder_at(url), max_source_bytes=15, max_source_files=3)


def test_source_that_is_not_there_is_named(locate, put):
    missing = f"s3://{BUCKET}/datasets/none/here"
    assert f"{missing}: there is no such object" in refusal(locate, folder_at(missing))
    missing = "s3://no-such-bucket/datasets/x"
    assert "there is no such object" in refusal(locate, folder_at(missing))
    part_of_a_name = put(**{"a.png": b"a"})[:-1]
    assert "there is no such object" in refusal(locate, folder_at(part_of_a_name))


BAD_KEYS = ["../a", "train/../../a", "./a", "a//b", "/etc/passwd", "a\nb", "a" * 256]


@pytest.mark.parametrize("name", BAD_KEYS)
def test_key_that_is_no_name_of_a_file_is_refused(locate, run_directory, monkeypatch, name):
    # Clients of SeaweedFS cannot store most of these keys; other stores take any.
    prefix = "datasets/x"
    listed = [StoredObject(f"{prefix}/{name}", 1, '"0"')]
    monkeypatch.setattr(S3Storage, "list_objects", lambda *_: iter(listed))
    assert "is not the name of a file" in refusal(locate, folder_at(f"s3://{BUCKET}/{prefix}"))
    assert not staging_folder(run_directory).exists()


def test_key_that_is_a_file_and_a_folder_is_refused(locate, monkeypatch):
    listed = [StoredObject(f"datasets/x/{name}", 1, '"0"') for name in ("a", "a/b")]
    monkeypatch.setattr(S3Storage, "list_objects", lambda *_: iter(listed))
    assert "of a file and of a folder" in refusal(locate, folder_at(f"s3://{BUCKET}/datasets/x"))


@pytest.mark.parametrize("num_bytes", [0, 5, 20, 20 * 2**20])
def test_object_that_changes_after_it_was_found_is_not_copied(storage, put, tmp_path, num_bytes):
    key = put(**{"a.png": b"0123456789"}).removeprefix(f"s3://{BUCKET}/") + "/a.png"
    found = storage.find_object(BUCKET, key)
    put(**{"a.png": b"x" * num_bytes})
    with pytest.raises(DamagedObject, match="changed while it was copied"):
        storage.copy_objects(BUCKET, {tmp_path / "a.png": found})
    assert list(tmp_path.iterdir()) == []


def test_copy_that_failed_is_made_again(locate, storage, put, run_directory, monkeypatch):
    url = put(**{"a.png": b"a", "b.png": b"bb"})
    list_objects = S3Storage.list_objects

    def list_one_that_is_gone(*arguments):
        for stored in list_objects(*arguments):
            gone = stored.key.endswith("b.png")
            yield dataclasses.replace(stored, key=f"{stored.key}c") if gone else stored

    monkeypatch.setattr(S3Storage, "list_objects", list_one_that_is_gone)
    assert "there is no such object" in refusal(locate, folder_at(url))
    monkeypatch.undo()
    path = locate(folder_at(url))
    assert {file.name: file.size_bytes for file in list_files(path)} == {"a.png": 1, "b.png": 2}


def test_source_larger_than_the_disk_is_refused_as_a_full_disk(locate, put, monkeypatch):
    url = put(**{"a.png": b"a" * 101})
    usage = shutil.disk_usage("/")._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match="the source has 101 bytes, the disk 100 left"):
        locate(folder_at(url))


def test_staging_is_dropped_while_something_is_still_written_to_it(run_directory):
    staging = staging_folder(run_directory)
    staging.mkdir()
    is_dropped = threading.Event()

    def write() -> None:
        number = 0
        while not is_dropped.is_set():
            number += 1
            try:
                (staging / f"{number}.png").touch()
            except FileNotFoundError:
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while not any(staging.iterdir()):
            time.sleep(0.001)
        drop_large_files(run_directory)
    finally:
        is_dropped.set()
        writer.join()
    assert not staging.exists()
    assert list(staging.parent.glob("source*")) == []
