"""The compose files as Docker Compose reads them, with passwords and nothing else set."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
MAIN = ROOT / "docker-compose.yml"
NODE = ROOT / "deploy" / "compose" / "worker.yml"
CONTROL_PLANE = ROOT / "deploy" / "compose" / "control_plane.yml"
PLACES = {
    "CONTROL_PLANE": "192.0.2.1",
    "PRIVATE_ADDRESS": "192.0.2.1",
    "NODE_NAME": "here",
    "NODE_ADDRESS": "192.0.2.2",
}


@functools.cache
def read(*files: Path) -> dict[str, Any]:
    """Return the files as one, with everything filled in; raises if compose refuses them."""
    text = "".join(file.read_text() for file in files)
    passwords = {name: f"secret-{name}" for name in re.findall(r"\$\{(\w+):\?", text)}
    shown = subprocess.run(
        [
            str(Path(sys.executable).with_name("docker-compose")),
            *(f"--file={file}" for file in files),
            *("--profile=*", "--env-file=/dev/null", "config"),
        ],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": "/nowhere"} | passwords | PLACES,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    config: dict[str, Any] = yaml.safe_load(shown.stdout)
    return config
