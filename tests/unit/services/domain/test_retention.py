"""Which checkpoints go: known answers."""

import pytest

from nvae_core.config import CheckpointPolicy
from services.domain.retention import StoredCheckpoint, StoredCheckpoints, find_garbage
from services.domain.states import CheckpointStatus

DAY = 86_400.0


def checkpoint(step, status="committed", *, pinned=False, is_read=False, unchanged_seconds=0.0):
    return StoredCheckpoint(
        id=f"c{step}",
        step=step,
        status=CheckpointStatus(status),
        pinned=pinned,
        is_read=is_read,
        unchanged_seconds=unchanged_seconds,
    )


def garbage(*checkpoints, has_ended=False, **policy):
    stored = StoredCheckpoints(
        job_id="job",
        has_ended=has_ended,
        policy=CheckpointPolicy(**policy),
        checkpoints=checkpoints,
    )
    return find_garbage(stored, grace_seconds=DAY)


def outdated(*ids):
    return dict.fromkeys(ids, "outdated")


def test_newest_stay_as_many_as_the_policy_says():
    steps = [checkpoint(step) for step in (40, 10, 30, 20, 50)]
    assert garbage(*steps, keep_last=3) == outdated("c10", "c20")


def test_milestones_stay():
    steps = [checkpoint(step) for step in range(10, 80, 10)]
    kept = {"keep_last": 2, "keep_every_steps": 20}
    assert garbage(*steps, **kept) == outdated("c10", "c30", "c50")


@pytest.mark.parametrize(("has_ended", "gone"), [(False, ["c10"]), (True, ["c10", "c20"])])
def test_last_but_one_stays_until_the_job_has_ended(has_ended, gone):
    steps = [checkpoint(step) for step in (10, 20, 30)]
    assert garbage(*steps, has_ended=has_ended, keep_last=1) == outdated(*gone)


def test_only_checkpoint_of_a_job_that_has_ended_stays():
    assert garbage(checkpoint(10), has_ended=True, keep_last=1) == {}


def test_job_without_checkpoints_has_no_garbage():
    assert garbage() == {}


@pytest.mark.parametrize("status", ["committed", "superseded", "corrupt"])
@pytest.mark.parametrize("protection", ["pinned", "is_read"])
def test_pinned_and_read_ones_stay_whatever_their_status(status, protection):
    protected = checkpoint(10, status, unchanged_seconds=2 * DAY, **{protection: True})
    newer = [checkpoint(step) for step in (20, 30, 40)]
    assert garbage(protected, *newer, keep_last=1) == outdated("c20")


@pytest.mark.parametrize("status", ["superseded", "corrupt"])
def test_set_aside_ones_go_after_the_grace(status):
    just_changed = checkpoint(50, status, unchanged_seconds=DAY - 1)
    changed_before = checkpoint(60, status, unchanged_seconds=DAY)
    assert garbage(checkpoint(10), just_changed, changed_before) == {"c60": status}


def test_set_aside_ones_do_not_count_among_those_kept():
    aside = [checkpoint(step, "superseded") for step in (40, 50, 60)]
    assert garbage(*[checkpoint(step) for step in (10, 20, 30)], *aside, keep_last=3) == {}
