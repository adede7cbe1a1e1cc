"""A database that can crash its user at one commit, before or after it.

A commit is named after the operation that it belongs to and numbered within it.
"""

from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum

from services.database.session import Database


class When(StrEnum):
    """The side of a commit on which the process dies."""

    BEFORE = "before"  # everything is rolled back
    AFTER = "after"  # it is committed, and nobody was told


class Crashed(Exception):
    """The process that commits has died."""


class CrashDatabase(Database):
    """Crashes at the first commit with a name, once."""

    def __init__(self, settings, *, crash=None):
        """Take the name of the commit and the side; without `crash` only note the commits."""
        super().__init__(settings)
        self.commits = []
        self._crash = crash
        self._operation = ""
        self._number = 0

    @contextmanager
    def operation(self, name):
        """Name the transactions of the block."""
        self._operation, self._number = name, 0
        yield

    @asynccontextmanager
    async def transaction(self):
        """One transaction, that may crash."""
        self._number += 1
        name = f"{self._operation} {self._number}"
        async with super().transaction() as session:
            yield session
            self._crash_at(name, When.BEFORE)
        self.commits.append(name)
        self._crash_at(name, When.AFTER)

    @property
    def has_crashed(self):
        """Whether the commit was reached."""
        return self._crash is None

    def _crash_at(self, name, when):
        if self._crash == (name, when):
            self._crash = None
            raise Crashed(name)
