"""Who may do what: keys, each of one project, with scopes."""

import base64
import hashlib
from dataclasses import dataclass
from enum import StrEnum

KEY_PREFIX = "nvae_"
KEY_BYTES = 32
HINT_CHARACTERS = 4
DEFAULT_PROJECT = "default"


class Scope(StrEnum):
    """What a key is good for; each includes those before it."""

    READ = "read"  # look at what the project has, and download it
    SUBMIT = "submit"  # jobs, data sets, checkpoints: make, change, delete
    ADMIN = "admin"  # nodes and keys


_INCLUDED = {
    Scope.READ: frozenset({Scope.READ}),
    Scope.SUBMIT: frozenset({Scope.READ, Scope.SUBMIT}),
    Scope.ADMIN: frozenset(Scope),
}


@dataclass(frozen=True)
class Caller:
    """Whoever makes a request, as known by the key."""

    key_id: str
    project: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether one of the key's scopes includes this one."""
        return any(scope in _INCLUDED[held] for held in self.scopes)


def make_key(random_bytes: bytes) -> str:
    """Return a new key; from 32 random bytes nobody guesses it, so a plain hash protects it."""
    assert len(random_bytes) == KEY_BYTES
    return KEY_PREFIX + base64.urlsafe_b64encode(random_bytes).rstrip(b"=").decode()


def hash_key(key: str) -> str:
    """Return what is stored of a key: its SHA-256."""
    return hashlib.sha256(key.encode()).hexdigest()


def hint_of(key: str) -> str:
    """Return the end of a key, by which its owner knows it again."""
    return f"…{key[-HINT_CHARACTERS:]}"
