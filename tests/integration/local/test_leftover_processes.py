"""What is left of a stack is found by what it cannot hide, and ends even if it ignores SIGTERM."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.local import processes

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('ready', flush=True); time.sleep(60)"
)


def test_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN], env={"NVAE_STACK": "of this test"}, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()

        processes.end_leftovers(
            lambda: processes.leftover_processes(tmp_path, "of this test"), grace_seconds=0.5
        )

        assert process.wait(0) == -signal.SIGKILL


@pytest.mark.parametrize(("program", "is_found"), [("valkey-server", True), ("bash", False)])
def test_server_is_told_from_a_shell_in_its_folder(
    tmp_path: Path, program: str, is_found: bool
) -> None:
    home = tmp_path / "valkey"
    home.mkdir()
    copy = tmp_path / program
    shutil.copy("/bin/sleep", copy)

    with subprocess.Popen([copy, "60"], cwd=home) as process:
        try:
            assert processes.server_processes(home) == ({process.pid} if is_found else set())
        finally:
            process.kill()
