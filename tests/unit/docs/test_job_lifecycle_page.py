"""The page about the life of a job says what the retry table does."""

import re
from pathlib import Path

import pytest

from services.domain.retry import NODE_FAULTS, RETRY_RULES, retry_delay_seconds
from services.domain.states import JobStatus, Reason

PAGE = (Path(__file__).parents[3] / "docs" / "job_lifecycle.md").read_text()
ROWS = {
    Reason(reason): [cell.strip() for cell in cells.split("|")]
    for reasons, cells in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|(.*)\|$", PAGE, re.MULTILINE)
    for reason in re.findall(r"`(\w+)`", reasons)
    if reason in set(Reason)
}
TIMES = {"always": None, "twice": 2, "3 times": 3, "10 times": 10}


@pytest.mark.parametrize("reason", Reason)
def test_reason_is_tried_again_as_often_as_the_page_says(reason):
    if reason not in RETRY_RULES:
        assert reason not in ROWS
        return
    times, first_wait, node = ROWS[reason]
    [budget] = [number for words, number in TIMES.items() if times.startswith(words)]
    assert budget == RETRY_RULES[reason].budget
    waits = retry_delay_seconds(reason, earlier=[], has_trained=True)
    assert first_wait == ("none" if waits == 0 else f"{waits:.0f} s")
    assert (node == "yes") == (reason in NODE_FAULTS)


@pytest.mark.parametrize("status", JobStatus)
def test_every_status_is_on_the_page(status):
    assert status in PAGE
