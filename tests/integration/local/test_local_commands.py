"""The command line: up, status and down, with our real services."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from running_stack import RunningStack, alive
from waiting import wait_until

from services.local.stack import ServiceOptions, service_parts
from services.local.state import StackFile, free_ports

ANY_STACK = StackFile(
    stack_id="a",
    postgres_port=1,
    postgres_password="b",
    valkey_port=2,
    valkey_password="c",
    s3_port=3,
    s3_access_key="d",
    s3_secret_key="e",
    api_key="f",
)


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

    status, said = run("up", folder, "--detach", "--api-port", str(api_port))
    try:
        assert (status, said) == (
            0,
            f"up: API http://127.0.0.1:{api_port}, data and logs in {folder}\n",
        )
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
    advice = (
        f"choose another with make up PORT={api_port + 100} (or NVAE_API_PORT={api_port + 100})"
    )
    assert f"port {api_port} on 127.0.0.1, needed by api, is taken: {advice}\n" in said
    assert "API key" not in said
    assert alive(tmp_path / "data") == {}


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
    assert {line.split("=")[0] for line in expected - found} == {"NVAE_PARENT_LOCK", "NVAE_STACK"}
    assert found <= expected
    assert run("environment", tmp_path) == (1, f"there is no stack in {tmp_path}\n")


def test_down_when_not_up_says_so(tmp_path: Path) -> None:
    assert run("down", tmp_path) == (0, "not up\n")


SLOW_TO_END = """
import signal, sys, time
from pathlib import Path
from services.local.state import hold_parent_lock
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
lock = hold_parent_lock(Path(sys.argv[1]))
print("locked", flush=True)
signal.sigwait([signal.SIGTERM])
lock.close()
time.sleep(2)
"""


def test_down_waits_for_a_supervisor_that_has_given_its_lock_back(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW_TO_END, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout
        assert supervisor.stdout.readline() == "locked\n"
        assert run("down", tmp_path) == (0, "down\n")
        assert supervisor.poll() == 0


def start(folder: Path, **environment: str) -> tuple[int, str]:
    """Start a stack in the background; what the terminal showed, both streams together."""
    ended = subprocess.run(
        [sys.executable, "-m", "services.local", "up", "--detach", "--data", str(folder)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


def test_first_key_is_told_when_the_stack_has_come_up_and_never_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    [port] = free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        status, said = start(folder, NVAE_API_PORT=str(port))
    assert status == 1
    assert "API key" not in said

    status, said = start(folder, NVAE_API_PORT=str(port))
    assert (status, run("down", folder)[0]) == (0, 0)
    key = (folder / "api_key").read_text().strip()
    assert said.splitlines()[-2].endswith(f"kept in {folder / 'api_key'}: {key}")
    assert said.splitlines()[-1].startswith(f"up: API http://127.0.0.1:{port},")
    assert key not in (folder / "logs" / "supervisor.log").read_text()

    status, said = start(folder, NVAE_API_PORT=str(port))
    assert (status, run("down", folder)[0]) == (0, 0)
    assert "API key" not in said


def test_port_that_is_none_is_refused_in_words(tmp_path: Path) -> None:
    status, said = start(tmp_path / "data", NVAE_API_PORT="many")
    assert status == 1
    assert said.startswith("NVAE_API_PORT: Input should be a valid integer")
    assert not (tmp_path / "data" / "stack.json").exists()


def test_every_setting_that_is_wrong_is_named(tmp_path: Path) -> None:
    wrong = {"NVAE_API_PORT": "many", "NVAE_API_REQUESTS_PER_MINUTE": "0"}
    status, said = start(tmp_path / "data", **wrong)
    assert status == 1
    assert [line.split(":")[0] for line in said.splitlines()[:-1]] == list(wrong)


@pytest.mark.parametrize(("taken", "advised"), [(8000, 8100), (65_500, 65_400)])
def test_port_that_is_advised_exists(taken: int, advised: int) -> None:
    options = ServiceOptions(api_port=taken, num_slots=1, datasets=None)
    [api] = [part for part in service_parts(ANY_STACK, options) if part.name == "api"]
    assert f"make up PORT={advised} (or NVAE_API_PORT={advised})" in api.if_taken


def test_first_key_is_not_told_when_a_service_fails_and_then_once_in_the_foreground(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    [port] = free_ports(1)
    command = [sys.executable, "-m", "services.local", "up", "--data", str(folder)]
    command += ["--api-port", str(port)]
    failed = subprocess.run(
        command,
        env=os.environ | {"NVAE_API_REQUESTS_PER_MINUTE": "0"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert failed.returncode == 1
    assert "starting postgres" in failed.stderr
    assert "API key" not in failed.stderr
    assert alive(folder) == {}

    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            ready = folder / "supervisor.ready"
            wait_until(lambda: ready.exists() or process.poll() is not None, seconds=30.0)
        finally:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate()
    key = (folder / "api_key").read_text().strip()
    assert said.count(key) == 1
    assert process.returncode == 0
