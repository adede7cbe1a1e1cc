"""No service may load torch: their images are built without it. Nor may collecting their tests."""

import subprocess
import sys
from pathlib import Path

import pytest

ENTRY_POINTS = [
    "services.api.__main__",
    "services.api.setup",
    "services.scheduler.__main__",
    "services.worker.__main__",
    "services.worker.node.fork_server",
    "services.worker.node.container",
    "services.local.commands",
    "services.local.demo",
    "services.database.migrate",
    "services.storage.s3",
]

ROOT = Path(__file__).parents[2]
FOLDERS = [  # of tests
    *("architecture", "e2e", "faults", "integration"),
    *("unit/deploy", "unit/docs", "unit/nvae_client", "unit/services"),
]
COLLECT = """
import sys, pytest
status = pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", *sys.argv[1:]])
sys.exit(status or int("torch" in sys.modules))
"""


@pytest.mark.parametrize("module", ENTRY_POINTS)
def test_service_does_not_load_torch(module):
    program = f"import sys, {module}; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_tests_of_the_services_are_collected_without_torch():
    command = [sys.executable, "-c", COLLECT, *(f"tests/{folder}" for folder in FOLDERS)]
    collected = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert collected.returncode == 0, collected.stdout[-2000:] + collected.stderr
