"""The whole stack as a user starts it, on free ports and a folder of its own."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from nvae_client import NvaeClient
from services.local.ports import free_ports


@dataclass(frozen=True)
class Stack:
    """A running stack: its folder, its folder of image sources, and its API."""

    folder: Path
    sources: Path
    url: str


def stack_command(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "services.local", *words], check=True, timeout=120)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stack")
    sources = tmp_path_factory.mktemp("sources")
    [port] = free_ports(1)
    stack_command(
        *("up", "--detach", "--data", str(folder), "--datasets", str(sources)),
        *("--api-port", str(port), "--slots", "2"),
    )
    yield Stack(folder, sources, f"http://127.0.0.1:{port}")
    stack_command("down", "--data", str(folder))


@pytest.fixture
def wait_until():
    """Return a function that waits for a condition, and fails if it does not come true in time."""

    def wait(condition, seconds=60.0):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    return wait


@pytest.fixture(scope="module")
def client(stack):
    with NvaeClient(stack.url) as client:
        yield client


@pytest.fixture
def image_folder(stack):
    """Return a function that writes a folder of small grey images among the sources."""

    def write(name: str, count: int) -> Path:
        folder = stack.sources / name
        folder.mkdir()
        for index in range(count):
            Image.new("L", (32, 32), color=index).save(folder / f"{index:03}.png")
        return folder

    return write
