"""The real servers of the integration tests."""

from server_fixtures import database, servers

__all__ = ["database", "servers"]
