"""Cursors: where a list goes on. Clients send them back as they are."""

import base64
import binascii
import re

from services.domain.errors import InvalidSpec

_PREFIX = "after "
_ID = re.compile(r"[a-z]+_[0-9a-f]{32}")


def write_cursor(last_id: str) -> str:
    """Return the cursor of the page that begins behind this id."""
    return base64.urlsafe_b64encode((_PREFIX + last_id).encode()).decode().rstrip("=")


def read_cursor(cursor: str | None) -> str | None:
    """Return the id behind which the page begins.

    Raises:
        InvalidSpec: it is none of ours.
    """
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        found = text.decode().removeprefix(_PREFIX)
    except (binascii.Error, ValueError):
        found = ""
    if not _ID.fullmatch(found):
        raise InvalidSpec.at("query/cursor", "is not a cursor of this list")
    return found
