"""What Prometheus reads: requests as they were answered here, and the counts of Postgres."""

import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from services.database.counts import Counts, read_counts
from services.database.session import Database

REMEMBERED_SECONDS = 5.0
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
GAUGES = {
    "jobs": ("nvae_jobs", "Jobs by status and kind.", ["status", "kind"]),
    "waits": ("nvae_queue_oldest_seconds", "Longest time in the queue, by reason.", ["reason"]),
    "leases": ("nvae_leases", "Shares of attempts that a node holds, by status.", ["status"]),
    "slots": ("nvae_slots", "GPUs or shares of cores, by kind and state.", ["kind", "state"]),
    "disk_bytes": ("nvae_node_disk_bytes", "Size of a live node's data disk.", ["node"]),
    "disk_free_bytes": ("nvae_node_disk_free_bytes", "Of it, what is free.", ["node"]),
    "checkpoint_bytes": ("nvae_checkpoint_bytes", "Bytes of checkpoints.", ["status"]),
    "checkpoint_age": (
        "nvae_checkpoint_oldest_seconds",
        "Longest time that a running training has saved nothing.",
        ["status"],
    ),
    "scheduler_age": (
        "nvae_scheduler_silent_seconds",
        "Since the active scheduler was last at work.",
        ["role"],
    ),
}
COUNTERS = {
    "attempts_ended": ("nvae_attempts_ended", "Attempts that ended, by reason.", ["reason"]),
    "slot_seconds": (
        "nvae_slot_seconds",
        "Time of slots that attempts used, and what of it was lost: goodput is the rest.",
        ["use"],
    ),
}


class Metrics:
    """Everything that `/metrics` shows."""

    def __init__(
        self, database: Database, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._monotonic = monotonic
        self._registry = CollectorRegistry()
        labels = ["method", "route"]
        self._requests = Counter(
            "nvae_http_requests",
            "Requests answered.",
            [*labels, "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "nvae_http_request_seconds",
            "Time to the first byte of the answer.",
            labels,
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._counts: tuple[float, Counts] | None = None

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    async def render(self) -> bytes:
        """Return all metrics in the text format; the counts are some seconds old at most."""
        now = self._monotonic()
        if self._counts is None or now > self._counts[0] + REMEMBERED_SECONDS:
            async with self._database.transaction() as session:
                self._counts = (now, await read_counts(session))
        counted = CollectorRegistry()
        counted.register(_Families(self._counts[1]))
        return generate_latest(self._registry) + generate_latest(counted)


class _Families:
    """Counts as Prometheus has them."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        """Yield the families."""
        for name, described in GAUGES.items():
            yield self._fill(GaugeMetricFamily(*described[:2], labels=described[2]), name)
        for name, described in COUNTERS.items():
            yield self._fill(CounterMetricFamily(*described[:2], labels=described[2]), name)

    def _fill(
        self, family: GaugeMetricFamily | CounterMetricFamily, name: str
    ) -> GaugeMetricFamily | CounterMetricFamily:
        for labels, value in self._counts.counts[name]:
            family.add_metric(list(labels), value)
        return family
