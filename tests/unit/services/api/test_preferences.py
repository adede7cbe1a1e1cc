"""What is read out of `Prefer` and `Accept`."""

import pytest

from services.api.preferences import PICTURE, _wait_seconds, _wants

wants_picture = _wants(PICTURE)


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, None),
        ("", None),
        ("wait=5", 5.0),
        ("Wait = 5", 5.0),
        ('respond-async, wait="20"; foo=bar', 20.0),
        ("wait=3600", 60.0),
        ("wait=-1", None),
        ("wait=soon", None),
        ("await=5", None),
    ],
)
async def test_wait_is_read_as_rfc_7240_has_it_and_what_makes_no_sense_is_ignored(prefer, seconds):
    assert await _wait_seconds(prefer) == seconds


async def test_picture_is_wanted_only_by_name():
    assert await wants_picture("image/png")
    assert await wants_picture("text/html, image/PNG;q=0.9")
    assert not await wants_picture("*/*")
    assert not await wants_picture("application/json")
    assert not await wants_picture(None)
