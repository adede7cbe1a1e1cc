"""Ids from this machine's clock and random source."""

import secrets
from datetime import UTC, datetime

from services.domain.ids import make_id


def new_id(prefix: str) -> str:
    """Return a new id of this type, such as `job_…`."""
    return make_id(prefix, now=datetime.now(UTC), entropy=secrets.token_bytes(10))
