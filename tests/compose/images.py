"""The images: ours are built, the servers' pulled, or stood in for where no registry answers."""

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from commands import ROOT, CommandFailed, run, tell
from engine import Engine

VERSION = "0.0.0-test"
API, WORKER = f"nvae-api:{VERSION}", f"nvae-worker:{VERSION}"
PYTHON = "python:3.11.14-slim-bookworm"
STAND_INS = Path(__file__).parent / "stand_ins"
SERVERS = {
    "postgres:18.6-bookworm": "postgres",
    "valkey/valkey:9.1.2": "valkey",
    "chrislusf/seaweedfs:4.48": "seaweedfs",
    "rclone/rclone:1.72.0": "rclone",
}
_WITHOUT = ("doc", "man", "locale")  # as the slim images are


class NoImages(Exception):
    """An image can neither be pulled nor built; the message says what is missing."""


def prepare_images(engine: Engine) -> None:
    """Have every image in the engine.

    Raises:
        NoImages: a registry is needed, or a tool to make do without one.
    """
    if not _is_there(engine, PYTHON):
        _make_base(engine)
    for image, name in SERVERS.items():
        if not _is_there(engine, image):
            _refuse_strangers(engine, image)
            tell(f"{image} cannot be pulled: a stand-in takes its place")
            _build(engine, STAND_INS / f"{name}.Dockerfile", image, context=STAND_INS)
    version = ("--build-arg", f"NVAE_VERSION={VERSION}")
    _build(engine, ROOT / "deploy/images/api.Dockerfile", API, *version)
    with _torch_index() as torch_index:
        _build(engine, ROOT / "deploy/images/worker.Dockerfile", WORKER, *version, *torch_index)


def size_bytes(engine: Engine, image: str) -> int:
    """Return how large an image is."""
    return int(engine.docker("image", "inspect", "--format={{.Size}}", image, show=False))


def _is_there(engine: Engine, image: str) -> bool:
    try:
        engine.docker("image", "inspect", "--format={{.Id}}", image, show=False)
        return True
    except CommandFailed:
        pass
    try:
        engine.docker("pull", "--quiet", image)
        return True
    except CommandFailed:
        return False


def _refuse_strangers(engine: Engine, image: str) -> None:
    if not engine.is_own:
        raise NoImages(f"{image} cannot be pulled, and nothing may stand in for it in your engine")


def _make_base(engine: Engine) -> None:
    """Make Debian with Python as the official image has it, and this machine's certificates."""
    _refuse_strangers(engine, PYTHON)
    if shutil.which("mmdebstrap") is None:
        raise NoImages(f"{PYTHON} cannot be pulled; on Debian: apt-get install mmdebstrap")
    certificates = "/etc/ssl/certs/ca-certificates.crt"
    with TemporaryDirectory() as folder:
        archive = f"{folder}/base.tar"
        run(
            *("mmdebstrap", "--variant=minbase", "--quiet"),
            "--include=ca-certificates,python3,python3-venv,python3-pip",
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _WITHOUT),
            f"--customize-hook=upload {certificates} {certificates}",
            *("bookworm", archive),
            environment=os.environ,
        )
        change = f"ENV PIP_CERT={certificates} PIP_DEFAULT_TIMEOUT=180"
        engine.docker("import", "--change", change, archive, PYTHON)


def _build(engine: Engine, file: Path, image: str, *options: str, context: Path = ROOT) -> None:
    engine.docker(
        *("build", "--quiet", "--network", "host", "--file", str(file), "--tag", image),
        *(*options, str(context)),
        within_seconds=1800.0,
    )


@contextmanager
def _torch_index() -> Iterator[tuple[str, ...]]:
    """Yield what leads the build to wheels of torch that pip has on this machine, if it has any."""
    folder = Path(os.environ.get("PIP_FIND_LINKS", ""))
    wheels = list(folder.glob("torch-*.whl")) if folder.is_absolute() else []
    if not wheels:
        yield ()
        return
    with TemporaryDirectory() as index:
        Path(index, "torch").mkdir()
        for wheel in wheels:
            Path(index, "torch", wheel.name).symlink_to(wheel)
        handler = functools.partial(_Quiet, directory=index)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 8181), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            # Always the same port: another argument would build the layer anew.
            yield ("--build-arg", f"TORCH_INDEX_URL=http://127.0.0.1:{server.server_port}/")
            server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""
