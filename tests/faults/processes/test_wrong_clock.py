"""Nodes whose clocks are wrong: leases and times are those of Postgres."""

import subprocess
import sys
from pathlib import Path

import pytest
from cluster import Cluster, stand_in_settings
from cluster_jobs import add_images, submit
from outcome import assert_exact

WRONG_CLOCK = Path(__file__).parent / "wrong_clock"
OFFSETS = {"n1": 600, "n2": -600}  # as far as S3 allows a signature to be wrong
STEPS = 200
SAY_TIME = "import time, datetime; print(time.time(), datetime.datetime.now())"


@pytest.fixture
def cluster(tmp_path):
    with Cluster(tmp_path / "cluster", **stand_in_settings()) as cluster:
        add_images(cluster.database_url)
        cluster.start_scheduler()
        for number, (node, offset) in enumerate(OFFSETS.items(), 1):
            wrong = {"PYTHONPATH": str(WRONG_CLOCK), "NVAE_CLOCK_OFFSET": str(offset)}
            cluster.start_worker(node, number=number, slots=1, **wrong)
        yield cluster


def test_clock_of_the_nodes_is_wrong_at_all():
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            SAY_TIME,
        ],
        env={"PYTHONPATH": str(WRONG_CLOCK), "NVAE_CLOCK_OFFSET": "1e9"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    seconds, day, _ = said.split()
    assert float(seconds) > 2.7e9
    assert int(day[:4]) > 2055


def test_nodes_with_wrong_clocks_run_their_jobs_once_and_tell_the_right_times(cluster):
    jobs = [submit(cluster.database_url, steps=STEPS, seed=seed) for seed in (1, 2)]
    for seed, job_id in enumerate(jobs, 1):
        cluster.wait_for_job(job_id, "succeeded")
        assert cluster.job(job_id)["num_attempts"] == 1
        assert_exact(cluster, job_id, seed=seed, steps=STEPS)
    nodes = "SELECT DISTINCT name FROM attempts JOIN nodes ON nodes.id = node_id ORDER BY 1"
    assert cluster.query(nodes) == [("n1",), ("n2",)]
    late = "SELECT count(*) FROM events WHERE abs(extract(epoch FROM at - clock_timestamp())) > 120"
    assert cluster.query(late) == [(0,)]
    ended = "SELECT count(*) FROM jobs WHERE finished_at > clock_timestamp() + interval '1 s'"
    assert cluster.query(ended) == [(0,)]
