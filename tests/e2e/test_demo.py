"""`make demo` with the small preset: it ends well, and however it ends it leaves no process."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from waiting import scaled, wait_until


@pytest.fixture
def demo(tmp_path):
    """The demo as a process in a session of its own, with everything it makes below tmp_path."""
    with (tmp_path / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.local", "demo", "--slots", "2"],
            cwd=tmp_path,
            env=os.environ | {"NVAE_DEMO_PRESET": "mnist-test"},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
    with process:
        yield process
        if process.poll() is None:
            process.kill()


def processes_below(folder: Path) -> set[int]:
    """Return the pids, without this one, that work in the folder or were told of it."""
    found = set()
    for process in Path("/proc").iterdir():
        try:
            if int(process.name) == os.getpid():
                continue
            told = str(folder).encode() in (process / "environ").read_bytes()
            if told or (process / "cwd").readlink().is_relative_to(folder):
                found.add(int(process.name))
        except (ValueError, OSError):
            continue
    return found


@pytest.fixture
def wait_for_training(tmp_path):
    """Return once the demo's trainer runs."""

    def trains():
        return any(tmp_path.glob(".local/demo-*/worker/attempts/*/run/logs/*/attempt_0"))

    return lambda: wait_until(trains)


@pytest.mark.smoke
def test_demo_ends_with_its_summary_and_leaves_files_that_are_right(demo, tmp_path):
    output, _ = demo.communicate(timeout=scaled(180))
    assert demo.returncode == 0, (tmp_path / "stderr").read_text()
    summary = json.loads(output.splitlines()[-1])
    assert summary["job"].startswith("job_")
    assert summary["num_parameters"] > 10_000
    assert 0 < summary["negative_elbo"] < 543  # 784 ln 2, what a coin reaches
    assert summary["train_seconds"] > 0
    for path in summary["grids"]:
        with Image.open(path) as grid:
            assert grid.size[0] == grid.size[1] >= 8 * 28
    folder = Path(summary["checkpoint"])
    manifest = json.loads((folder / "checkpoint.json").read_text())
    for name, file in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == file["sha256"]
    assert list((tmp_path / ".local").iterdir()) == []
    assert processes_below(tmp_path) == set()


def test_ctrl_c_stops_everything(demo, tmp_path, wait_for_training):
    wait_for_training()
    os.killpg(demo.pid, signal.SIGINT)
    assert demo.wait(timeout=scaled(60)) == 130
    assert processes_below(tmp_path) == set()
    assert list((tmp_path / ".local").iterdir()) == []


def test_kill_9_of_the_supervisor_leaves_no_process(demo, tmp_path, wait_for_training):
    wait_for_training()
    demo.kill()
    wait_until(lambda: processes_below(tmp_path) == set(), seconds=20)
