"""Inputs are fetched once and only if they are what was uploaded."""

from dataclasses import replace

import pytest

from services.adapters.ids import new_id
from services.adapters.postgres.results import StoredFile
from services.domain.statuses import Reason
from services.worker.inputs import CorruptInput, InputCache, StoredFolder, list_files


@pytest.fixture
def folder(storage, tmp_path):
    """A folder that lies in S3."""
    source = tmp_path / "source"
    (source / "nested").mkdir(parents=True)
    (source / "a.bin").write_bytes(b"a" * 1000)
    (source / "nested" / "b.bin").write_bytes(b"b")
    prefix = f"tests/{new_id('in')}"
    files = list_files(source)
    for file in files:
        storage.upload(source / file.name, f"{prefix}/{file.name}")
    return StoredFolder("key", prefix, files, Reason.INVALID_DATASET)


def test_fetched_folder_equals_the_stored_one(storage, tmp_path, folder):
    local = InputCache(tmp_path / "cache", storage).fetch(folder)
    assert list_files(local) == folder.files


def test_second_fetch_downloads_nothing(storage, tmp_path, folder):
    cache = InputCache(tmp_path / "cache", storage)
    local = cache.fetch(folder)
    gone = replace(folder, prefix="tests/nowhere")
    assert cache.fetch(gone) == local


def test_file_with_another_checksum_does_not_appear(storage, tmp_path, folder):
    first, *rest = folder.files
    wrong = StoredFile(first.name, first.size_bytes, "0" * 64)
    cache = InputCache(tmp_path / "cache", storage)
    with pytest.raises(CorruptInput, match=first.name) as error:
        cache.fetch(replace(folder, files=[wrong, *rest]))
    assert error.value.reason == Reason.INVALID_DATASET
    assert list_files(tmp_path / "cache" / "key") == []


def test_file_that_went_bad_on_the_node_is_fetched_again(storage, tmp_path, folder):
    cache = InputCache(tmp_path / "cache", storage)
    local = cache.fetch(folder)
    (local / "a.bin").write_bytes(b"x" * 1000)  # the same size
    assert list_files(cache.fetch(folder)) == folder.files


def test_file_that_is_missing_in_the_store_is_corrupt_and_not_retried(storage, tmp_path, folder):
    gone = replace(folder, prefix="tests/nowhere")
    with pytest.raises(CorruptInput, match="no such object"):
        InputCache(tmp_path / "cache", storage).fetch(gone)
