"""One round of placement of 10 000 queued jobs on 1 000 nodes of 8 slots, for several mixes.

`python -m benchmarks.placement [--jobs N] [--nodes N]`. A decision is a job that was looked at and
placed, or told why it waits. The ceiling sorts the same queue and gives every job the same answer.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.domain.cluster import NodeSlots, QueuedJob
from services.domain.placement import Wait, place

NUM_SLOTS = 8
NUM_ROUNDS = 7
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Mix:
    """A queue, and the nodes it finds."""

    name: str
    jobs: Sequence[QueuedJob]
    nodes: Sequence[NodeSlots]


def main() -> None:
    """Measure every mix in turn with the ceiling, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--nodes", type=int, default=1_000)
    arguments = parser.parse_args()
    for mix in mixes(arguments.jobs, arguments.nodes):
        measure(mix)


def measure(mix: Mix) -> None:
    """Print how fast the mix is decided, and the ceiling."""
    bare, ours = [], []
    for _ in range(NUM_ROUNDS):
        bare.append(seconds(lambda: answer_all(mix.jobs)))
        ours.append(seconds(lambda: place(mix.jobs, mix.nodes)))
    median = statistics.median(ours)
    print(
        f"{mix.name}: {len(place(mix.jobs, mix.nodes).placements)} placed in {median:.3f} s, "
        f"{len(mix.jobs) / median:.0f} decisions per second; "
        f"ceiling {len(mix.jobs) / statistics.median(bare):.0f}"
    )


def mixes(num_jobs: int, num_nodes: int) -> list[Mix]:
    """Return the queues: what one is about is its name."""
    draw = random.Random(0)  # noqa: S311 - not a secret
    idle = [node(number) for number in range(num_nodes)]
    full = [node(number, free=0) for number in range(num_nodes)]
    worn = [node(number, free=draw.randrange(NUM_SLOTS)) for number in range(num_nodes)]
    shared = [node(number, free=2, soon_free=draw.randrange(4)) for number in range(num_nodes)]
    labelled = [
        node(number, labels={"gpu": f"kind{number % 10}", "rack": str(number % 50)})
        for number in range(num_nodes)
    ]
    sizes = (1, 2, 4, 8)

    def queue(make: Callable[[int], QueuedJob]) -> list[QueuedJob]:
        jobs = [make(number) for number in range(num_jobs)]
        draw.shuffle(jobs)
        return jobs

    return [
        Mix("all fit: one slot each", queue(job), [node(n, size=16) for n in range(num_nodes)]),
        Mix("none fit", queue(lambda n: job(n, draw.choice(sizes))), full),
        Mix("1 to 8 slots", queue(lambda n: job(n, draw.choice(sizes))), idle),
        Mix("small behind a big head", queue(lambda n: job(n, 1 if n else 8)), worn),
        Mix("small and large, many wait", queue(lambda n: job(n, draw.choice(sizes))), worn),
        Mix("short behind long", queue(lambda n: job(n, 1 + n % 8, is_short=n % 2 > 0)), shared),
        Mix(
            "gangs of 1 to 32 nodes",
            queue(lambda n: job(n, draw.choice(sizes), num_nodes=draw.choice((1, 2, 4, 16, 32)))),
            idle,
        ),
        Mix(
            "gangs of 32 nodes that wait",
            queue(lambda n: job(n, 8, num_nodes=32)),
            worn,
        ),
        Mix(
            "labels, 500 sets",
            queue(
                lambda n: job(
                    n, draw.choice(sizes), labels={"gpu": f"kind{n % 10}", "rack": str(n % 50)}
                )
            ),
            labelled,
        ),
        Mix(
            "every job avoids nodes of its own",
            queue(lambda n: job(n, draw.choice(sizes), avoided=frozenset({name(n % num_nodes)}))),
            worn,
        ),
    ]


def name(number: int) -> str:
    """Return the id of a node."""
    return f"node_{number:05}"


def node(
    number: int,
    *,
    free: int | None = None,
    size: int = NUM_SLOTS,
    soon_free: int = 0,
    labels: dict[str, str] | None = None,
) -> NodeSlots:
    """Return a node of one of two versions, most of them of the first."""
    slots = tuple(range(size if free is None else free))
    version = "2" if number % 5 == 0 else "1"
    return NodeSlots(name(number), slots, size, labels or {}, version, soon_free)


def job(
    number: int,
    num_slots: int = 1,
    *,
    num_nodes: int = 1,
    labels: dict[str, str] | None = None,
    avoided: frozenset[str] = frozenset(),
    is_short: bool = False,
) -> QueuedJob:
    """Return the job with this place in the queue."""
    return QueuedJob(
        f"job_{number:05}",
        num_slots,
        50,
        START + timedelta(seconds=number),
        num_nodes,
        labels or {},
        avoided,
        is_short,
    )


def answer_all(jobs: Sequence[QueuedJob]) -> list[Wait]:
    """Do what cannot be left out."""
    ordered = sorted(jobs, key=lambda job: (-job.priority, job.created_at, job.id))
    return [Wait(job.id, "waits") for job in ordered]


def seconds(work: Callable[[], object]) -> float:
    """Return how long the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
