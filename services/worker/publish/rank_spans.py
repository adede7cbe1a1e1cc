"""Spans of the ranks, from what they left in the run directory: with their real times."""

import heapq
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise

import structlog

from nvae_core.run_directory import PHASE_END, PhaseLine, RankState, RunDirectory
from services.telemetry import tracing

MAX_PHASES = 1000  # on one node: what waits to be sent has room for 2048 spans
log = structlog.get_logger()


@dataclass(frozen=True)
class PastPhase:
    """A phase of a rank, until the next one began; times are Unix seconds."""

    name: str
    step: int
    started_at: float
    ended_at: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended_at - self.started_at


def record_rank_spans(run_directory: RunDirectory, *, parent: str | None) -> None:
    """Record a span for each rank that has left its phases, and one for each of the longest phases.

    Blocks while it reads. What cannot be read is left out: a trace is worth no attempt.

    Args:
        run_directory: of a trainer that has ended.
        parent: the `traceparent` that the spans are below; without one there are none.
    """
    if parent is None:
        return
    try:
        ranks = run_directory.read_phases()
        states = run_directory.read_ranks()
        for rank, lines in ranks.items():
            _record_rank(rank, lines, states.get(rank), parent, MAX_PHASES // len(ranks))
    except (OSError, ValueError) as error:
        log.warning("traces.ranks_not_read", error=str(error))


def _record_rank(
    rank: int, lines: Iterable[PhaseLine], state: RankState | None, parent: str, max_phases: int
) -> None:
    phases = list(_past_phases(lines, heard_at=_heard_at(state)))
    if not phases:
        return
    attributes: dict[str, float] = {"nvae.rank": rank, "nvae.step": phases[-1].step}
    is_done = phases[-1].name == PHASE_END
    if is_done:
        phases.pop()
    for name in {phase.name for phase in phases}:
        times = [phase.seconds for phase in phases if phase.name == name]
        attributes[f"nvae.phase.{name}.seconds"] = round(sum(times), 3)
        attributes[f"nvae.phase.{name}.count"] = len(times)
    rank_span = tracing.record(
        "rank",
        parent=parent,
        started_at=phases[0].started_at,
        ended_at=phases[-1].ended_at,
        attributes=attributes,
        error=None if is_done else f"last heard of in {phases[-1].name}",
    )
    for phase in heapq.nlargest(max_phases, phases, key=lambda phase: phase.seconds):
        tracing.record(
            phase.name,
            parent=rank_span,
            started_at=phase.started_at,
            ended_at=phase.ended_at,
            attributes={"nvae.rank": rank, "nvae.step": phase.step},
        )


def _past_phases(lines: Iterable[PhaseLine], *, heard_at: float) -> Iterator[PastPhase]:
    """Yield the phases; the last one lasted until its rank was last heard of."""
    for line, after in pairwise(chain(lines, [None])):
        assert line is not None
        ended_at = max(heard_at, line.at) if after is None else after.at
        yield PastPhase(line.phase, line.step, line.at, ended_at)


def _heard_at(state: RankState | None) -> float:
    """Return when a rank last said something, in Unix seconds; its file has the other clock."""
    return 0.0 if state is None else time.time() - (time.monotonic() - state.since)
