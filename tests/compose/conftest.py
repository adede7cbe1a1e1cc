"""An engine, the images and an installation, for all tests of compose."""

import re
import subprocess
import sys

import pytest
from commands import ROOT, tell
from engine import NoEngine, running_engine
from images import NoImages, prepare_images
from installation import Installation

from services.local.state import free_ports


def make_env(path):
    program = str(ROOT / "deploy" / "compose" / "make_env.py")
    subprocess.run([sys.executable, program, str(path)], check=True)


@pytest.fixture(scope="session")
def planted_passwords():
    """The passwords in the folder that images are built from, as in a clone in use."""
    path = ROOT / ".env"
    was_there = path.exists()
    make_env(path)
    yield [
        line[-48:] for line in path.read_text().splitlines() if re.search("=[0-9a-f]{48}$", line)
    ]
    if not was_there:
        path.unlink()


@pytest.fixture(scope="session")
def engine(planted_passwords):
    try:
        with running_engine() as engine:
            prepare_images(engine)
            yield engine
    except (NoEngine, NoImages) as missing:
        tell(f"nothing was tested: {missing}")
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def installation(engine, tmp_path_factory):
    """An installation that is not up yet; it goes with its data at the end."""
    folder = tmp_path_factory.mktemp("installation")
    (folder / "datasets").mkdir(mode=0o755)
    make_env(folder / ".env")
    installation = Installation(engine, folder / ".env", *free_ports(2))
    yield installation
    installation.compose("--profile", "*", "down", "--volumes", "--timeout=5")


@pytest.fixture(scope="session")
def up(installation):
    """The installation, healthy within a minute of nothing."""
    assert installation.up() <= 60.0
    return installation


@pytest.fixture(scope="session")
def client(up):
    with up.client() as client:
        yield client


@pytest.fixture(autouse=True)
def _titles(request):
    tell(f"== {request.node.name.removeprefix('test_').replace('_', ' ')}")
