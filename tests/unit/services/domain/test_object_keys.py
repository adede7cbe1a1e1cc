"""A key says whose it is, or that it is nobody's."""

import pytest

from services.domain.keys import attempt_of_key, attempt_prefix

JOB = "job_019c5f0a4c7e7d8fa1b2c3d4e5f60718"


@pytest.mark.parametrize("rest", ["artifacts/grid.png", "checkpoints/step_1/model", "a\nb", "x"])
def test_key_below_the_prefix_of_an_attempt_is_its_own(rest):
    assert attempt_of_key(f"{attempt_prefix(JOB, 12)}/{rest}") == (JOB, 12)


@pytest.mark.parametrize(
    "key",
    [
        "datasets/mnist.zip",
        f"datasets/{attempt_prefix(JOB, 1)}/x",
        f"jobs/{JOB}/attempts/1",
        f"jobs/{JOB}/attempts/1/",
        f"jobs/{JOB}/attempts/01/x",
        f"jobs/{JOB}/attempts/0/x",
        f"jobs/{JOB}/attempts/one/x",
        f"jobs/{JOB}/attempts//x",
        f"jobs/{JOB}/notes/1/x",
        "jobs/mine/attempts/1/x",
        "jobs/../attempts/1/x",
        "",
    ],
)
def test_any_other_key_is_nobodys(key):
    assert attempt_of_key(key) is None
