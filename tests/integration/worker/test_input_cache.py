"""Inputs are fetched once and only if they are what was uploaded."""

import subprocess
import sys
from dataclasses import replace

import pytest

from nvae_core.run_directory import file_sha256, is_disk_full
from services.database.session import new_id
from services.domain.keys import StoredFile
from services.domain.states import Reason
from services.worker.inputs import cache
from services.worker.inputs.cache import (
    CacheEntry,
    CorruptInput,
    InputCache,
    StoredFolder,
    list_files,
    reserve_room,
)


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
    local = InputCache(tmp_path / "cache", storage, budget_bytes=None).fetch(folder)
    assert list_files(local) == folder.files


def test_second_fetch_downloads_nothing(storage, tmp_path, folder):
    cache = InputCache(tmp_path / "cache", storage, budget_bytes=None)
    local = cache.fetch(folder)
    gone = replace(folder, prefix="tests/nowhere")
    assert cache.fetch(gone) == local


def test_file_with_another_checksum_does_not_appear(storage, tmp_path, folder):
    first, *rest = folder.files
    wrong = StoredFile(first.name, first.size_bytes, "0" * 64)
    cache = InputCache(tmp_path / "cache", storage, budget_bytes=None)
    with pytest.raises(CorruptInput, match=first.name) as error:
        cache.fetch(replace(folder, files=[wrong, *rest]))
    assert error.value.reason == Reason.INVALID_DATASET
    assert list_files(tmp_path / "cache" / "key") == []


def test_file_that_went_bad_on_the_node_is_fetched_again(storage, tmp_path, folder):
    cache = InputCache(tmp_path / "cache", storage, budget_bytes=None)
    local = cache.fetch(folder)
    (local / "a.bin").write_bytes(b"x" * 1000)  # the same size
    assert list_files(cache.fetch(folder)) == folder.files


def test_file_that_is_missing_in_the_store_is_corrupt_and_not_retried(storage, tmp_path, folder):
    gone = replace(folder, prefix="tests/nowhere")
    with pytest.raises(CorruptInput, match="no such object"):
        InputCache(tmp_path / "cache", storage, budget_bytes=None).fetch(gone)


@pytest.fixture
def stored_folder(storage, tmp_path):
    """Makes a folder in S3 with one file of this size, under a key of its own."""

    def make(key, size_bytes):
        source = tmp_path / f"source-{key}"
        source.mkdir()
        (source / "data.bin").write_bytes(key[0].encode() * size_bytes)
        prefix = f"tests/{new_id('in')}"
        storage.upload(source / "data.bin", f"{prefix}/data.bin")
        return StoredFolder(key, prefix, list_files(source), Reason.INVALID_DATASET)

    return make


@pytest.fixture
def cached(tmp_path, storage):
    """A cache with a budget; `fetch_and_end` is a runner that fetches and ends."""
    return lambda budget_bytes: InputCache(tmp_path / "cache", storage, budget_bytes=budget_bytes)


def fetch_and_end(cache, folder):
    cache.fetch(folder)
    cache.release()


def folders_in(tmp_path):
    return {path.name for path in (tmp_path / "cache").iterdir() if not path.name.startswith(".")}


def test_folder_that_was_not_wanted_for_longest_goes_first(tmp_path, cached, stored_folder):
    cache = cached(250)
    a, b, c, d = (stored_folder(key, 100) for key in "abcd")
    for folder in (a, b, a, c):
        fetch_and_end(cache, folder)
    assert folders_in(tmp_path) == {"a", "c"}
    fetch_and_end(cache, d)
    assert folders_in(tmp_path) == {"c", "d"}


def test_folder_that_a_live_runner_uses_does_not_go(tmp_path, cached, stored_folder):
    a, b, c = (stored_folder(key, 100) for key in "abc")
    cached(250).fetch(a)
    fetch_and_end(cached(250), b)
    fetch_and_end(cached(250), c)
    assert folders_in(tmp_path) == {"a", "c"}


def test_runner_that_is_killed_lets_go_of_its_inputs(tmp_path, cached, stored_folder):
    a, b = (stored_folder(key, 100) for key in "ab")
    fetch_and_end(cached(150), a)
    program = (
        "import sys, time, pathlib; from services.worker.inputs.cache import CacheEntry;"
        " CacheEntry(pathlib.Path(sys.argv[1]), 'a').use(); print('used', flush=True);"
        " time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "cache")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as runner:
        assert runner.stdout.readline() == b"used\n"
        with pytest.raises(OSError, match="no room"):
            cached(150).fetch(b)
        runner.kill()
    fetch_and_end(cached(150), b)
    assert folders_in(tmp_path) == {"b"}


def test_folder_that_never_fits_is_a_full_disk_and_drives_out_nothing(
    tmp_path, cached, stored_folder
):
    fetch_and_end(cached(150), stored_folder("a", 100))
    with pytest.raises(OSError, match=r"b has 200 bytes.*NVAE_WORKER_CACHE_BYTES") as error:
        cached(150).fetch(stored_folder("b", 200))
    assert is_disk_full(error.value)
    assert folders_in(tmp_path) == {"a"}


def test_folder_that_does_not_fit_on_the_disk_is_a_full_disk(tmp_path, cached, stored_folder):
    b = stored_folder("b", 100)
    too_large = replace(b, files=[replace(b.files[0], size_bytes=10**17)])
    fetch_and_end(cached(10**18), stored_folder("a", 100))
    with pytest.raises(OSError, match="of the disk") as error:
        cached(10**18).fetch(too_large)
    assert is_disk_full(error.value)


def test_room_that_another_runner_has_reserved_is_taken(tmp_path, cached, stored_folder):
    b = stored_folder("b", 100)
    downloading = CacheEntry(tmp_path / "cache", "a")
    cache = cached(150)
    with downloading.locked():
        reserve_room(downloading, size_bytes=100, missing_bytes=100, budget_bytes=150)
        with pytest.raises(OSError, match="no room"):
            cache.fetch(b)
    fetch_and_end(cache, b)  # that runner was killed before it had downloaded anything
    assert folders_in(tmp_path) == {"b"}


def test_what_a_killed_download_left_is_removed(tmp_path, cached, stored_folder):
    a = stored_folder("a", 100)
    fetch_and_end(cached(None), a)
    partial = tmp_path / "cache" / "a" / ".data.bin.0a1b2c3d"
    partial.write_bytes(b"half")
    fetch_and_end(cached(None), a)
    assert not partial.exists()


@pytest.fixture
def hashed(monkeypatch):
    """Names of the files whose content is hashed in the cache."""
    names = []

    def hash_and_tell(path):
        names.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(cache, "file_sha256", hash_and_tell)
    return names


def test_small_folder_is_hashed_each_time(cached, stored_folder, hashed):
    a = stored_folder("a", 100)
    hashed.clear()
    for _ in range(3):
        fetch_and_end(cached(None), a)
    assert hashed == ["data.bin"] * 2


def test_large_folder_is_hashed_again_only_after_it_was_touched(
    tmp_path, cached, stored_folder, hashed, monkeypatch
):
    monkeypatch.setattr(cache, "ALWAYS_HASHED_BYTES", 100)
    a = stored_folder("a", 100)
    hashed.clear()
    for _ in range(3):
        fetch_and_end(cached(None), a)
    assert hashed == []
    (tmp_path / "cache" / "a" / "data.bin").write_bytes(b"x" * 100)  # the same size
    local = cached(None).fetch(a)
    assert hashed == ["data.bin"]
    assert list_files(local) == a.files
