"""The command line: up, status and down, with our real services."""

import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

from running_stack import RunningStack, alive

from services.local.ports import free_ports


def run(command: str, folder: Path, *options: str) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, "-m", "services.local", command, "--data", str(folder), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return ended.returncode, ended.stdout + (ended.stderr if ended.returncode else "")


def test_up_returns_when_the_api_answers_and_down_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    api_port = free_ports(1)[0]

    up = run("up", folder, "--detach", "--api-port", str(api_port))
    try:
        assert up == (0, f"up: API http://127.0.0.1:{api_port}, data and logs in {folder}\n")
        with urllib.request.urlopen(f"http://127.0.0.1:{api_port}/readyz") as answer:
            assert answer.status == 200
    finally:
        assert run("down", folder) == (0, "down\n")

    assert alive(folder) == {}


def test_up_that_fails_says_why(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        api_port = other.getsockname()[1]
        status, said = run("up", tmp_path / "data", "--detach", "--api-port", str(api_port))

    assert status == 1
    assert f"port {api_port} on 127.0.0.1, needed by api, is taken" in said


def test_up_when_up_says_so(shared_stack: RunningStack) -> None:
    status, said = run("up", shared_stack.folder, "--detach")

    assert status == 0
    assert said.startswith(f"already up: API http://127.0.0.1:{shared_stack.api_port}")


def test_status_tells_whether_it_is_up(shared_stack: RunningStack, tmp_path: Path) -> None:
    assert run("status", shared_stack.folder)[0] == 0
    assert run("status", tmp_path) == (1, "not up\n")


def test_environment_is_for_a_shell_and_does_not_tie_it_to_the_stack(
    shared_stack: RunningStack, tmp_path: Path
) -> None:
    status, said = run("environment", shared_stack.folder)
    shown = subprocess.run(
        ["bash", "-c", f"{said}env"], env={}, capture_output=True, text=True, check=True
    )
    found = {line for line in shown.stdout.splitlines() if line.startswith("NVAE_")}
    expected = {f"{name}={value}" for name, value in shared_stack.environment.items()}
    assert status == 0
    assert {line.split("=")[0] for line in expected - found} == {"NVAE_LIFELINE", "NVAE_STACK"}
    assert found <= expected
    assert run("environment", tmp_path) == (1, f"there is no stack in {tmp_path}\n")


def test_down_when_not_up_says_so(tmp_path: Path) -> None:
    assert run("down", tmp_path) == (0, "not up\n")
