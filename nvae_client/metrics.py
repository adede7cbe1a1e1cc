"""Metrics of jobs as columns."""

from collections.abc import Sequence
from typing import TypedDict

from pydantic import TypeAdapter

from nvae_client.answers import Answer
from nvae_client.transport import Transport, read


class Columns(TypedDict):
    """One metric, ready for `pandas.DataFrame`."""

    step: list[int]
    value: list[float]


class _Series(Answer):
    steps: list[int]
    values: list[float]  # "NaN" and "Infinity" are numbers too


_SERIES = TypeAdapter(dict[str, _Series])


def fetch_metrics(
    transport: Transport,
    job_id: str,
    *,
    names: Sequence[str] = (),
    from_step: int | None = None,
    to_step: int | None = None,
    max_points: int | None = None,
) -> dict[str, Columns]:
    """Return a job's metrics by name.

    Args:
        transport: to the service.
        job_id: the job.
        names: which; none means all.
        from_step: the first step, or None for all.
        to_step: the last step, or None for all.
        max_points: of each metric; of a longer one the extremes are returned. None means as many
            as the service thinks enough.
    """
    parameters = {"from_step": from_step, "to_step": to_step, "max_points": max_points}
    answer = transport.get(
        f"/v1/jobs/{job_id}/metrics", parameters={"names": [*names], **parameters}
    )
    found = read(_SERIES, answer)
    return {name: {"step": one.steps, "value": one.values} for name, one in found.items()}
