"""Numbers, times and curves as people read them."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvae_client.cli.output import (
    show_age,
    show_bytes,
    show_count,
    show_number,
    show_seconds,
    show_value,
    sparkline,
)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (show_number(102.3456), "102.35"),
        (show_number(0.00012), "0.00012"),
        (show_number(1_234_567), "1 234 567"),
        (show_number(math.nan), "nan"),
        (show_number(None), ""),
        (show_number(True), "True"),
        (show_count(578_206), "578 k"),
        (show_count(33_400_000), "33.4 M"),
        (show_count(7), "7"),
        (show_bytes(1023), "1023 B"),
        (show_bytes(1_500_000_000), "1.4 GiB"),
        (show_seconds(59.6), "1m 00s"),
        (show_seconds(7_500), "2h 05m"),
        (show_seconds(90_000), "1d 01h"),
        (show_value({"a": {"b": 1, "c": None}, "d": [0.8]}), "a.b=1  d=[0.8]"),
    ],
)
def test_amounts(shown, expected):
    assert shown == expected


def test_age_is_one_unit():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert show_age(now - timedelta(hours=5, minutes=59), now) == "5h"
    assert show_age(now + timedelta(seconds=3), now) == "0s"


def test_curve_goes_from_the_lowest_to_the_highest():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([5, 5], 8) == "▁▁"
    assert sparkline([], 8) == ""
    assert sparkline([1, math.nan, 2], 8) == "▁×█"


@given(st.lists(st.floats(), min_size=1), st.integers(1, 40))
def test_curve_fits_its_width(values, width):
    assert len(sparkline(values, width)) == min(width, len(values))
