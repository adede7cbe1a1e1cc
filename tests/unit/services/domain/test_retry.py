"""Retries: by reason, within a budget, with a growing delay."""

import pytest

from services.domain.retry import first_cause, retry_delay_seconds
from services.domain.states import Reason


@pytest.mark.parametrize(
    "reason",
    [
        *(Reason.OUT_OF_MEMORY, Reason.INVALID_DATASET, Reason.INVALID_CONFIG),
        *(Reason.DEADLINE_EXCEEDED, Reason.CANCELLED_BY_USER),
    ],
)
def test_fault_of_the_job_is_not_retried(reason):
    assert retry_delay_seconds(reason, earlier=[], has_trained=True) is None


@pytest.mark.parametrize("reason", [Reason.RENDEZVOUS_TIMEOUT, Reason.STALLED, Reason.DISK_FULL])
def test_fault_of_the_machine_is_retried(reason):
    assert retry_delay_seconds(reason, earlier=[], has_trained=False) == 5


@pytest.mark.parametrize("reason", [Reason.GPU_UNAVAILABLE, Reason.DEVICE_ERROR])
def test_job_leaves_a_broken_gpu_at_once_and_gives_up_after_three(reason):
    delays = [
        retry_delay_seconds(reason, earlier=[reason] * used, has_trained=False) for used in range(4)
    ]
    assert delays == [0, 10, 20, None]


def test_lost_worker_is_replaced_at_once_the_first_time():
    assert retry_delay_seconds(Reason.WORKER_LOST, earlier=[], has_trained=False) == 0


def test_delay_doubles_up_to_five_minutes():
    delays = [
        retry_delay_seconds(Reason.NOT_CLAIMED, earlier=[Reason.NOT_CLAIMED] * n, has_trained=False)
        for n in range(10)
    ]
    assert delays == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300]


def test_budget_of_a_reason_ends():
    earlier = [Reason.WORKER_LOST] * 10
    assert retry_delay_seconds(Reason.WORKER_LOST, earlier=earlier, has_trained=True) is None


def test_another_reason_does_not_use_up_the_budget():
    earlier = [Reason.NOT_CLAIMED] * 10
    assert retry_delay_seconds(Reason.WORKER_LOST, earlier=earlier, has_trained=True) == 0


def test_crash_before_the_first_step_is_not_retried():
    assert retry_delay_seconds(Reason.TRAINER_CRASHED, earlier=[], has_trained=False) is None
    assert retry_delay_seconds(Reason.TRAINER_CRASHED, earlier=[], has_trained=True) == 5


def test_drained_job_moves_at_once_however_often():
    earlier = [Reason.DRAINED] * 100
    assert retry_delay_seconds(Reason.DRAINED, earlier=earlier, has_trained=False) == 0


def test_training_that_diverges_is_changed_three_times_at_most():
    delays = [
        retry_delay_seconds(
            Reason.NON_FINITE_LOSS, earlier=[Reason.NON_FINITE_LOSS] * used, has_trained=True
        )
        for used in range(4)
    ]
    assert delays == [0, 10, 20, None]


@pytest.mark.parametrize(
    ("known", "reported", "replaces"),
    [
        (None, Reason.PEER_LOST, True),
        (Reason.PEER_LOST, Reason.NODE_LOST, True),
        (Reason.PEER_LOST, Reason.SUCCEEDED, True),
        (Reason.NODE_LOST, Reason.PEER_LOST, False),
        (Reason.NODE_LOST, Reason.TRAINER_CRASHED, False),
        (Reason.SUCCEEDED, Reason.WORKER_LOST, False),
        (Reason.PEER_LOST, Reason.DRAINED, False),
    ],
)
def test_first_cause_stays_unless_it_only_missed_another_rank(known, reported, replaces):
    assert first_cause(known, reported) is replaces
