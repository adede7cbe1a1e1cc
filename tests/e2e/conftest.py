"""What the tests of whole stacks share."""

from pathlib import Path

import pytest
from PIL import Image
from stacks import running_stack

from nvae_client import NvaeClient


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with running_stack(tmp_path_factory) as stack:
        yield stack


@pytest.fixture(scope="module")
def client(stack):
    with NvaeClient(stack.url, stack.api_key) as client:
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
