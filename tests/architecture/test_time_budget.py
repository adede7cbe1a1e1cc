"""Budgets and waits of the tests grow with how slow the machine is."""

import pytest
import time_budget
import waiting


@pytest.fixture(autouse=True)
def _twice_as_slow(monkeypatch):
    for module in (time_budget, waiting):
        monkeypatch.setattr(module, "slowness", lambda: 2.0)
    monkeypatch.delenv("NVAE_FAULTS", raising=False)


@pytest.mark.budget(3)
@pytest.mark.parametrize(("seconds", "is_told"), [(2.9, False), (5.9, False), (6.1, True)])
def test_test_that_exceeds_its_budget_is_told(request, seconds, is_told):
    told = time_budget.excess_of(request.node, seconds)
    assert (told is not None) == is_told


def test_run_at_length_has_no_budget(request, monkeypatch):
    monkeypatch.setenv("NVAE_FAULTS", "full")
    assert time_budget.excess_of(request.node, 1e6) is None


def test_waiting_returns_what_came_true_and_fails_with_a_reason():
    answers = iter([None, None, "yes"])
    assert waiting.wait_until(lambda: next(answers)) == "yes"
    with pytest.raises(AssertionError, match="never"):
        waiting.wait_until(lambda: False, 0.0, failure=lambda: "never")
    assert waiting.scaled(30) == 60
