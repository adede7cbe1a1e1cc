"""The file `supervisor.ready`: there while the whole stack is up, saying where its API is."""

import json
import os
import sys
from pathlib import Path

from services.local.stack_file import API_KEY_NAME, load_or_create, write_private


def publish(folder: Path, api_url: str) -> None:
    """Say that the stack of this supervisor is up."""
    write_private(_path(folder), json.dumps({"pid": os.getpid(), "api_url": api_url}) + "\n")


def withdraw(folder: Path) -> None:
    """Say that it is not, or no longer."""
    _path(folder).unlink(missing_ok=True)


def published_by(folder: Path) -> int | None:
    """The pid of the supervisor that said so, even if it has been killed since."""
    pid = _content(folder).get("pid")
    return pid if isinstance(pid, int) else None


def tell_new_key(folder: Path) -> None:
    """Tell the first API key of a stack whose first start this is, on standard error."""
    if not (folder / API_KEY_NAME).exists():
        key = load_or_create(folder).api_key
        sys.stderr.write(f"API key, shown this once and kept in {folder / API_KEY_NAME}: {key}\n")


def describe(folder: Path) -> str:
    """Where the API and the data are, for the person at the terminal."""
    where = _content(folder).get("api_url", "not ready yet")
    return f"API {where}, data and logs in {folder}"


def _content(folder: Path) -> dict[str, object]:
    try:
        content: dict[str, object] = json.loads(_path(folder).read_text())
    except FileNotFoundError:
        return {}
    return content


def _path(folder: Path) -> Path:
    return folder / "supervisor.ready"
