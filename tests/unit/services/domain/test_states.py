"""The transition table of jobs."""

import itertools

import pytest

from nvae_core.run_directory import ExitReason
from services.domain.errors import Conflict
from services.domain.states import JOB_TRANSITIONS, TERMINAL, JobStatus, Reason, check_transition


@pytest.mark.parametrize(("end", "other"), list(itertools.product(sorted(TERMINAL), JobStatus)))
def test_terminal_status_never_changes(end, other):
    with pytest.raises(Conflict, match=end):
        check_transition(end, other)


@pytest.mark.parametrize("status", list(JobStatus))
def test_every_status_leads_to_an_end(status):
    reached, frontier = {status}, [status]
    while frontier:
        new = JOB_TRANSITIONS[frontier.pop()] - reached
        reached |= new
        frontier.extend(new)
    assert reached & TERMINAL


def test_every_exit_reason_of_the_trainer_that_is_no_stop_is_a_reason():
    stops = {ExitReason.STOPPED, ExitReason.LEASE_LOST}
    assert {reason.value for reason in set(ExitReason) - stops} <= {r.value for r in Reason}
