"""A database whose commits have names, and of which one can be made to crash."""

from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum

from services.database.session import Database


class When(StrEnum):
    """On which side of a commit a process dies."""

    BEFORE = "before"  # everything is rolled back
    AFTER = "after"  # it is committed, and nobody was told


class Crashed(Exception):
    """The process that wanted to commit is no more."""


class CrashingDatabase(Database):
    """Every transaction is named after the act it belongs to and numbered within that."""

    def __init__(self, settings, *, crash=None):
        """Make the first commit with a name crash, once: `crash` is the name and when."""
        super().__init__(settings)
        self.commits = []
        self._crash = crash
        self._act = ""
        self._number = 0

    @contextmanager
    def act(self, name):
        """Name the transactions of the block."""
        self._act, self._number = name, 0
        yield

    @asynccontextmanager
    async def transaction(self):
        """One transaction, that may crash."""
        self._number += 1
        name = f"{self._act} {self._number}"
        async with super().transaction() as session:
            yield session
            self._crash_at(name, When.BEFORE)
        self.commits.append(name)
        self._crash_at(name, When.AFTER)

    @property
    def has_crashed(self):
        """Whether what should crash has crashed."""
        return self._crash is None

    def _crash_at(self, name, when):
        if self._crash == (name, when):
            self._crash = None
            raise Crashed(name)
