"""Ids: typed, sortable by time, UUIDs of version 7."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.domain.keys import make_id

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@given(st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_later_id_sorts_after_earlier_one(first, second):
    later = NOW + timedelta(milliseconds=1)
    assert make_id("job", now=NOW, entropy=first) < make_id("job", now=later, entropy=second)


@given(st.binary(min_size=10, max_size=10))
def test_id_is_a_uuid_of_version_7(entropy):
    prefix, _, digits = make_id("ckpt", now=NOW, entropy=entropy).partition("_")
    assert prefix == "ckpt"
    assert UUID(digits).version == 7
    assert int(digits[:12], 16) == 1_767_225_600_000
