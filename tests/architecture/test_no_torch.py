"""No service may load torch: their images are built without it."""

import subprocess
import sys

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


@pytest.mark.parametrize("module", ENTRY_POINTS)
def test_service_does_not_load_torch(module):
    program = f"import sys, {module}; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
