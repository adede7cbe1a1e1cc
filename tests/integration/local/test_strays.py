"""Strays are found by what they cannot hide, and end even when they do not want to."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.local import strays

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('ready', flush=True); time.sleep(60)"
)


def test_stray_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN], env={"NVAE_STACK": "of this test"}, stdout=subprocess.PIPE
    ) as stray:
        assert stray.stdout
        stray.stdout.readline()

        strays.sweep(lambda: strays.all_of(tmp_path, "of this test"), grace_seconds=0.5)

        assert stray.wait(0) == -signal.SIGKILL


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
            assert strays.server_processes(home) == ({process.pid} if is_found else set())
        finally:
            process.kill()
