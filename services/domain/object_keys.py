"""Where in the bucket an attempt stores its files."""

import re
from typing import NamedTuple

ATTEMPTS_ROOT = "jobs/"
_KEY = re.compile(r"jobs/(?P<job_id>job_[0-9a-f]{32})/attempts/(?P<number>[1-9][0-9]{0,8})/.", re.S)


class AttemptNumber(NamedTuple):
    """An attempt, as its keys name it."""

    job_id: str
    number: int


def attempt_prefix(job_id: str, number: int) -> str:
    """Return the prefix of everything that an attempt stores, without a slash at its end."""
    return f"{ATTEMPTS_ROOT}{job_id}/attempts/{number}"


def attempt_of_key(key: str) -> AttemptNumber | None:
    """Return the attempt that stored an object, or None if it is not one of an attempt."""
    found = _KEY.match(key)
    return AttemptNumber(found["job_id"], int(found["number"])) if found else None
