"""What a data folder keeps over restarts: the stack's id, its ports and its passwords."""

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from services.domain.access import KEY_BYTES, make_key
from services.local.ports import free_ports, free_s3_block

STACK_NAME = "stack.json"
API_KEY_NAME = "api_key"


@dataclass(frozen=True, kw_only=True)
class StackFile:
    """The content of ``stack.json``, readable by its owner only."""

    stack_id: str
    postgres_port: int
    postgres_password: str
    valkey_port: int
    valkey_password: str
    s3_port: int
    s3_access_key: str
    s3_secret_key: str
    api_key: str


def load_or_create(folder: Path) -> StackFile:
    """Read ``stack.json`` in ``folder``, or choose ports and passwords and write it."""
    path = folder / STACK_NAME
    if path.exists():
        found = json.loads(path.read_text())
        if "api_key" in found:
            return StackFile(**found)
        chosen = StackFile(**found, api_key=_choose_key())  # of a stack from before there were keys
    else:
        chosen = _choose()
    write_private(path, json.dumps(asdict(chosen), indent=2) + "\n")
    write_private(folder / API_KEY_NAME, chosen.api_key + "\n")
    return chosen


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _choose() -> StackFile:
    postgres_port, valkey_port = free_ports(2)
    return StackFile(
        stack_id=secrets.token_hex(8),
        postgres_port=postgres_port,
        postgres_password=secrets.token_hex(16),
        valkey_port=valkey_port,
        valkey_password=secrets.token_hex(16),
        s3_port=free_s3_block(),
        s3_access_key=secrets.token_hex(10),
        s3_secret_key=secrets.token_hex(20),
        api_key=_choose_key(),
    )


def _choose_key() -> str:
    return make_key(secrets.token_bytes(KEY_BYTES))
