"""The supervisor: parts come back after kill -9 with their data, and nothing outlives it."""

import os
import signal
import socket
from pathlib import Path

import pytest
from local_stores import read, write
from running_stack import RunningStack, alive, stack, start_stack
from waiting import wait_until

from services.local.state import load_or_create

SERVERS = ["postgres", "valkey", "seaweedfs"]


def comes_back(running: RunningStack, part: str, killed: int) -> bool:
    try:
        return running.pid_of(part) != killed and "ready" in running.said().splitlines()[-1]
    except LookupError:
        return False


@pytest.mark.parametrize("server", SERVERS)
def test_killed_server_comes_back_with_its_data(shared_stack: RunningStack, server: str) -> None:
    write(shared_stack.environment, server, f"written to {server}")
    killed = shared_stack.pid_of(server)

    os.kill(killed, signal.SIGKILL)

    wait_until(lambda: comes_back(shared_stack, server, killed), seconds=30.0)
    assert read(shared_stack.environment, server) == f"written to {server}"


def test_killed_service_comes_back(shared_stack: RunningStack) -> None:
    killed = shared_stack.pid_of("api")

    os.kill(killed, signal.SIGKILL)

    wait_until(lambda: comes_back(shared_stack, "api", killed), seconds=30.0)


def test_second_supervisor_on_the_same_folder_is_refused(shared_stack: RunningStack) -> None:
    second = start_stack(shared_stack.folder)

    second.process.communicate(timeout=20)

    assert second.process.returncode == 1
    assert f"in use by the supervisor with pid {shared_stack.process.pid}" in second.said()


def test_restart_keeps_ports_passwords_and_data(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with stack(folder) as first:
        before = load_or_create(folder)
        for server in SERVERS:
            write(first.environment, server, f"written to {server}")
        assert first.stop() == 128 + signal.SIGTERM
        assert alive(folder) == {}

    with stack(folder) as second:
        assert load_or_create(folder) == before
        for server in SERVERS:
            assert read(second.environment, server) == f"written to {server}"

        assert second.stop(signal.SIGKILL) == -signal.SIGKILL
        wait_until(lambda: not alive(folder), seconds=5.0)
    assert (folder / "stack.json").stat().st_mode & 0o777 == 0o600


def test_failing_part_stops_the_stack_and_its_log_is_quoted(tmp_path: Path) -> None:
    broken = start_stack(tmp_path / "data", "broken")

    broken.process.communicate(timeout=30)

    assert broken.process.returncode == 1, broken.said()
    assert "migrate ended with status 1" in broken.said()
    assert "RuntimeError: no such column" in broken.said()
    assert alive(tmp_path / "data") == {}


def test_stack_ends_with_its_program_and_as_it_did(tmp_path: Path) -> None:
    demo = start_stack(tmp_path / "data", "print('the result'); raise SystemExit(7)")

    stdout, _ = demo.process.communicate(timeout=30)

    assert demo.process.returncode == 7, demo.said()
    assert stdout == "the result\n"
    assert alive(tmp_path / "data") == {}


def test_ctrl_c_stops_the_program_and_everything_below_it(tmp_path: Path) -> None:
    source = "import time; print('started', flush=True); time.sleep(60)"
    demo = start_stack(tmp_path / "data", source)
    assert demo.process.stdout
    assert demo.process.stdout.readline() == "started\n"

    os.killpg(demo.process.pid, signal.SIGINT)

    demo.process.communicate(timeout=30)
    assert demo.process.returncode == 128 + signal.SIGINT
    assert alive(tmp_path / "data") == {}


def test_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        api_port = other.getsockname()[1]
        late = start_stack(tmp_path / "data", api_port=api_port)
        late.process.communicate(timeout=20)

    assert late.process.returncode == 1
    assert late.said() == f"port {api_port} on 127.0.0.1, needed by api, is taken\n"
    assert list((tmp_path / "data" / "logs").iterdir()) == []
