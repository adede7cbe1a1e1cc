"""What is read out of `Prefer` and `Accept`."""

import pytest

from services.api.preferences import _wait_seconds, _wants_picture


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
def test_wait_is_read_as_rfc_7240_writes_it_and_what_makes_no_sense_is_ignored(prefer, seconds):
    assert _wait_seconds(prefer) == seconds


def test_picture_is_wanted_only_by_name():
    assert _wants_picture("image/png")
    assert _wants_picture("text/html, image/PNG;q=0.9")
    assert not _wants_picture("*/*")
    assert not _wants_picture("application/json")
    assert not _wants_picture(None)
