"""A cluster of real processes for each module of faults; how long recoveries took, at the end."""

import pytest
from cluster import Cluster, stand_in_settings
from recoveries import Recoveries
from submitting import add_images

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
