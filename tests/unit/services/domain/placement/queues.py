"""Jobs, nodes and whole situations for the tests of placement."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from services.domain.cluster import NodeSlots, QueuedJob
from services.domain.placement import Decisions, place

START = datetime(2026, 1, 1, tzinfo=UTC)
LABELS = ({}, {"gpu": "a"}, {"gpu": "b"}, {"gpu": "a", "rack": "1"})


def job(name, num_slots=1, *, priority=50, age=0, **fields):
    return QueuedJob(name, num_slots, priority, START - timedelta(seconds=age), **fields)


def node(name, free, of=None, **fields):
    return NodeSlots(name, tuple(range(free)), of or free, **fields)


def placed(decisions: Decisions):
    """Return the nodes of each placed job, that of rank 0 first."""
    return {
        placement.job_id: [share.node_id for share in placement.shares]
        for placement in decisions.placements
    }


def messages(jobs, nodes):
    return {wait.job_id: wait.message for wait in place(jobs, nodes).waits}


@st.composite
def nodes(draw, max_nodes=6):
    made = []
    for number in range(draw(st.integers(0, max_nodes))):
        size = draw(st.integers(1, 4))
        free = draw(st.lists(st.integers(0, size - 1), unique=True))
        made.append(
            NodeSlots(
                f"node{number}",
                tuple(free),
                size,
                labels=draw(st.sampled_from(LABELS)),
                version=draw(st.sampled_from("12")),
                soon_free=draw(st.integers(0, size - len(free))),
            )
        )
    return draw(st.permutations(made))


@st.composite
def jobs(draw, max_jobs=12, max_nodes=6):
    names = st.sampled_from([f"node{number}" for number in range(max_nodes)])
    return [
        job(
            f"job{number:02}",
            draw(st.integers(1, 4)),
            priority=draw(st.sampled_from((50, 60))),
            age=draw(st.integers(0, 3)),
            num_nodes=draw(st.sampled_from((1, 1, 1, 2, 3))),
            labels=draw(st.sampled_from((*LABELS[:1] * 3, *LABELS))),
            avoided=draw(st.frozensets(names, max_size=2)),
            is_short=draw(st.booleans()),
        )
        for number in range(draw(st.integers(0, max_jobs)))
    ]


def in_order(jobs):
    return sorted(jobs, key=lambda job: (-job.priority, job.created_at, job.id))
