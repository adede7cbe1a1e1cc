"""Writes .env with fresh passwords, unless there is one: `python3 deploy/compose/make_env.py`."""

import os
import secrets
import sys
from pathlib import Path

SECRETS = (
    "POSTGRES_PASSWORD",
    "VALKEY_PASSWORD",
    "S3_SECRET_KEY",
    "SEAWEEDFS_KEY",
    "GRAFANA_PASSWORD",
    "READER_PASSWORD",
    "NVAE_API_BOOTSTRAP_KEY",
)
CHOICES = """\
# Passwords of this installation; keep a copy with the backups. docs/deploy.md
# Which workers: cpu or gpu; with dashboards: cpu,monitoring
COMPOSE_PROFILES=cpu
# Where the API and S3 are published, and under which address clients reach S3.
PUBLISH_ADDRESS=127.0.0.1
S3_PUBLIC_URL=http://localhost:8333
"""


def environment_file() -> str:
    """Return the content of a new file."""
    # Letters and digits only: some of them end up in URLs.
    return CHOICES + "".join(f"{name}={secrets.token_hex(24)}\n" for name in SECRETS)


def write_environment(path: Path) -> bool:
    """Write the file, for the eyes of its owner only; return False if there is one already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(environment_file())
    return True


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ".env")
    if write_environment(target):
        print(f"{target} is new; the API key is NVAE_API_BOOTSTRAP_KEY in it")
    else:
        print(f"{target} is there already and stays as it is")
