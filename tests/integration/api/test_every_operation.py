"""Generated requests to every operation: no 5xx, nothing undocumented, nothing against the schema.

With `NVAE_FUZZ_SECONDS=1200` it goes on for so long.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from building import add_checkpoint, add_claimed_attempt, add_dataset, add_job, add_key, add_node
from serving import served

from services.local.state import HOST

CONFIG = Path(__file__).with_name("schemathesis.toml")
SEED = "1"


@pytest.fixture
async def key(database):
    """A key to a project in which there is one of everything."""
    key = await add_key(database)
    await add_dataset(database)
    claim = await add_claimed_attempt(database, await add_job(database), await add_node(database))
    await add_checkpoint(database, claim)
    return key


def test_every_operation_keeps_to_its_document(servers, key, tmp_path):
    log = tmp_path / "api.log"
    with served(servers, log) as port:
        outcome = fuzz(f"http://{HOST}:{port}", key, tmp_path)
    assert outcome.returncode == 0, outcome.stdout[-8000:]
    assert "No issues found" in outcome.stdout
    assert '"status": 5' not in log.read_text()


def fuzz(url, key, folder):
    """Return how schemathesis ended."""
    program = Path(sys.executable).with_name("schemathesis")
    seconds = os.environ.get("NVAE_FUZZ_SECONDS")
    longer = ["--max-time", seconds] if seconds else ["--max-examples", "10"]
    options = ["--checks", "all", "--seed", SEED, "--no-color", "--warnings", "off", *longer]
    return subprocess.run(
        [
            *(program, "--config-file", CONFIG, "run", f"{url}/openapi.json", *options),
            *("--header", f"Authorization: Bearer {key}", "--request-timeout", "30"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=2000,
        check=False,
    )
