"""Folders of attempts that ended go by age and by number; those of live runners stay."""

import fcntl
import os

import pytest

from services.settings import WorkerSettings
from services.worker.folders import delete_old_folders

NOW = 2_000_000_000.0
DAY = 86_400.0


@pytest.fixture
def settings(tmp_path):
    return WorkerSettings(
        node_name="n", data_folder=tmp_path, keep_attempts=3, keep_attempts_seconds=7 * DAY
    )


@pytest.fixture
def add_attempt(tmp_path):
    def add(name, *, days_ago):
        folder = tmp_path / "attempts" / name
        (folder / "run" / "logs").mkdir(parents=True)
        (folder / "runner.lock").touch()
        (folder / "runner.log").touch()
        os.utime(folder / "runner.log", times=(NOW, NOW - days_ago * DAY))
        return folder

    return add


def left(tmp_path):
    return sorted(path.name for path in (tmp_path / "attempts").iterdir())


def test_only_the_newest_stay(tmp_path, settings, add_attempt):
    for days_ago in (5, 1, 4, 2, 3):
        add_attempt(f"a{days_ago}", days_ago=days_ago)
    delete_old_folders(settings, now=NOW)
    assert left(tmp_path) == ["a1", "a2", "a3"]


def test_old_ones_go_even_if_they_are_few(tmp_path, settings, add_attempt):
    add_attempt("new", days_ago=6)
    add_attempt("old", days_ago=8)
    delete_old_folders(settings, now=NOW)
    assert left(tmp_path) == ["new"]


def test_one_whose_runner_lives_stays_however_old(tmp_path, settings, add_attempt):
    folder = add_attempt("old", days_ago=30)
    with (folder / "runner.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        delete_old_folders(settings, now=NOW)
        assert left(tmp_path) == ["old"]
    delete_old_folders(settings, now=NOW)
    assert left(tmp_path) == []


def test_node_without_attempts_has_nothing_to_clean(settings):
    delete_old_folders(settings, now=NOW)
