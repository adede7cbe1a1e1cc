"""Running a server that refuses to be root, when we are root."""

import functools
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

_NOBODY = 65534
_UNSHARE = ("unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}")


@dataclass(frozen=True)
class Identity:
    """Who a server runs as: what to put before its command, and the user to become."""

    prefix: tuple[str, ...] = ()
    user: int | None = None


@functools.cache
def unprivileged_identity() -> Identity:
    """Ourselves; as root, nobody to the server only; else nobody to everyone."""
    if os.geteuid() != 0:
        return Identity()
    # Best: in a user namespace the server sees itself as nobody, and its files stay root's.
    if _user_namespaces_allowed():
        return Identity(prefix=_UNSHARE)
    return Identity(user=_NOBODY)


def give(path: Path, identity: Identity) -> None:
    """Make ``path`` and what is in it belong to that identity, when we are root."""
    owner = _NOBODY if identity.user is not None else os.geteuid()
    if path.stat().st_uid == owner:
        return
    if owner == _NOBODY:
        path.parent.chmod(0o711)  # nobody must be able to walk in
    for found in (path, *path.rglob("*")):
        os.chown(found, owner, owner, follow_symlinks=False)


def _user_namespaces_allowed() -> bool:
    try:
        return subprocess.run((*_UNSHARE, "true"), capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
