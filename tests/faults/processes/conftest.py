"""A cluster of real processes for each module, and a table of recovery times at the end."""

from dataclasses import dataclass, field

import pytest
from cluster import Cluster, stand_in_settings
from cluster_jobs import add_images
from fault_profile import IS_FULL
from time_budget import slowness


@dataclass
class Recoveries:
    """Times in seconds, by fault."""

    rows: list[tuple[str, float, float]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def note(self, fault: str, seconds: float, *, promised_seconds: float) -> None:
        """Note one recovery; in a full run, AssertionError if it took longer than is promised."""
        self.rows.append((fault, seconds, promised_seconds))
        if IS_FULL and seconds > promised_seconds:
            assert seconds <= promised_seconds * slowness(), f"{fault}: {seconds:.1f} s"

    def remark(self, text: str) -> None:
        """Note what a run was."""
        self.remarks.append(text)

    def table(self) -> list[str]:
        """Return the remarks, and the lines of the table."""
        if not self.rows:
            return self.remarks
        width = max(len(fault) for fault, _, _ in self.rows)
        lines = ["", f"{'fault':<{width}}  recovered  promised"]
        lines += [
            f"{fault:<{width}}  {seconds:7.1f} s  {promised:6.0f} s"
            for fault, seconds, promised in self.rows
        ]
        return [*self.remarks, *lines]


RECOVERIES = Recoveries()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two nodes of two slots with stand-in trainers, and two schedulers, at their usual pace."""
    with Cluster(tmp_path_factory.mktemp("cluster"), **stand_in_settings()) as cluster:
        add_images(cluster.database_url)
        for name in ("scheduler", "scheduler-2"):
            cluster.start_scheduler(name)
        for number, node in enumerate(("n1", "n2"), start=1):
            cluster.start_worker(node, number=number)
        cluster.wait_until(lambda: cluster.query("SELECT count(*) FROM nodes") == [(2,)])
        yield cluster


@pytest.fixture
def recoveries():
    """Where tests note how long a recovery took, and what is promised."""
    return RECOVERIES


def pytest_terminal_summary(terminalreporter):
    """Print the table of recovery times."""
    for line in RECOVERIES.table():
        terminalreporter.write_line(line)
