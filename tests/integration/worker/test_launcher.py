"""Runners that are forked: they hold their lock, outlive the fork server, and can be ended."""

import os
import signal
from pathlib import Path

import pytest
from building import add_claimed_attempt, add_dataset, add_job, add_node, find_attempt
from otlp_collector import hanging_collector
from waiting import wait_until

from services.settings import WorkerSettings
from services.worker.folders import attempt_folder, is_runner_alive, kill_attempt
from services.worker.node.launcher import Launcher


@pytest.fixture
async def claim(database):
    await add_dataset(database)
    return await add_claimed_attempt(database, await add_job(database), await add_node(database))


@pytest.fixture
def launcher(service_environment, monkeypatch, tmp_path):
    monkeypatch.setitem(os.environ, "NVAE_WORKER_NODE_NAME", "n1")
    monkeypatch.setitem(os.environ, "NVAE_WORKER_DATA_FOLDER", str(tmp_path))
    launcher = Launcher(WorkerSettings())
    yield launcher
    launcher.stop()


def runner_pid(tmp_path, claim):
    lock = attempt_folder(tmp_path, claim.attempt_id) / "runner.lock"
    wait_until(lock.read_text)
    return int(lock.read_text())


async def test_runner_lives_when_launch_returns_and_is_ended_by_name(launcher, claim, tmp_path):
    launcher.launch(claim)
    assert is_runner_alive(tmp_path, claim.attempt_id)
    assert runner_pid(tmp_path, claim) not in {os.getpid(), 0}
    kill_attempt(tmp_path, claim.attempt_id)
    wait_until(lambda: not is_runner_alive(tmp_path, claim.attempt_id))


async def test_runner_outlives_the_fork_server_and_another_one_is_started(
    launcher, claim, tmp_path
):
    launcher.launch(claim)
    pid = runner_pid(tmp_path, claim)
    os.kill(pid, signal.SIGSTOP)  # it would end soon: its data set is not there
    launcher.stop()
    assert is_runner_alive(tmp_path, claim.attempt_id)
    launcher.launch(claim)  # asked again: the one that lives goes on
    assert runner_pid(tmp_path, claim) == pid
    kill_attempt(tmp_path, claim.attempt_id)
    wait_until(lambda: not is_runner_alive(tmp_path, claim.attempt_id))


async def test_runner_that_cannot_be_started_is_an_error(launcher, claim, tmp_path):
    (tmp_path / "attempts").mkdir()
    attempt_folder(tmp_path, claim.attempt_id).mkdir()
    (attempt_folder(tmp_path, claim.attempt_id) / "runner.lock").mkdir()
    with pytest.raises(IsADirectoryError):
        launcher.launch(claim)


async def test_runner_lets_go_of_its_lock_before_it_waits_for_a_collector(
    launcher, claim, tmp_path, monkeypatch, database
):
    monkeypatch.setitem(os.environ, "NVAE_WORKER_TRAINER_COMMAND", '["true"]')
    with hanging_collector() as collector:
        for name, value in collector.environment.items():
            monkeypatch.setitem(os.environ, name, value)
        launcher.launch(claim)
        pid = runner_pid(tmp_path, claim)
        wait_until(lambda: not is_runner_alive(tmp_path, claim.attempt_id))
        os.kill(pid, 0)  # it is there, and waits
        assert (await find_attempt(database, claim.attempt_id)).status == "finished"
        wait_until(lambda: not Path(f"/proc/{pid}").exists())
