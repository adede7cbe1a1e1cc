"""One trace from a client's request to the ranks of two nodes, over a killed runner and a retry."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise

import httpx
import pytest
from otlp_collector import running_collector, with_collector
from PIL import Image
from stacks import LEASE, running_stack

from services.local.stack import server_environment
from services.local.state import load_or_create
from services.worker.folders import LOCK_NAME

TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
TRAIN = {
    "kind": "train",
    "preset": "mnist-test",
    "dataset": "few",
    "resources": {"nodes": 2, "slots": 1},
    "overrides": {"optimization.epochs": 6, "optimization.batch_size": 10},
    "checkpoint": {"every_steps": 6},
    "validation": {"every_steps": 9, "num_images": 20},
}
NUM_STEPS = 18  # of 60 images
PHASES = ["start", "train", "evaluate", "save", "sample"]


@pytest.fixture(scope="module")
def collector():
    with running_collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def stack(tmp_path_factory, collector):
    """A stack that is traced, with a second node."""
    environment = with_collector(collector)
    with running_stack(tmp_path_factory, environment) as stack:
        servers = server_environment(stack.folder, load_or_create(stack.folder))
        own = {"NODE_NAME": "n2", "DATA_FOLDER": str(stack.folder / "n2"), "SLOTS": "1"}
        own |= {"ADDRESS": "127.0.0.2", "POLL_SECONDS": "0.5"}
        own |= {"DATASETS_FOLDER": str(stack.sources)}
        settings = {f"NVAE_WORKER_{name}": value for name, value in own.items()}
        with (stack.folder / "logs" / "n2.log").open("wb") as log:
            second = subprocess.Popen(
                [sys.executable, "-m", "services.worker"],
                env=environment | servers | settings | LEASE,
                stderr=log,
            )
        yield stack
        second.terminate()
        second.wait(30)


@pytest.fixture(scope="module")
def trained(stack, client, collector):
    """A job of two nodes, one of whose runners was killed while they trained."""
    for split, count in (("train", 60), ("test", 20)):
        (stack.sources / "few" / split).mkdir(parents=True)
        for level in range(count):
            image = Image.new("L", (28, 28), color=level)
            image.save(stack.sources / "few" / split / f"{level:02}.png")
    source = {"kind": "folder", "path": "few", "image_size": 28, "num_colors": 1}
    client.datasets.register("few", source).job.wait()
    key = {"Authorization": f"Bearer {stack.api_key}"}
    answer = httpx.post(f"{stack.url}/v1/jobs", json=TRAIN, headers=key | CLIENT, trust_env=False)
    assert answer.status_code == 201, answer.text
    job = client.jobs.get(answer.json()["id"])
    while not (trains := [path for path in phases_on(stack, "n2") if "train" in path.read_text()]):
        assert job.refresh().status not in {"failed", "succeeded"}
        time.sleep(0.1)
    attempt = trains[0].parents[2]
    os.kill(int((attempt / LOCK_NAME).read_text()), signal.SIGKILL)
    ended = job.wait()
    assert ended.num_attempts == 2
    collector.wait_for(lambda: len(collector.of(TRACE, "run attempt")) == 3)
    return ended


def phases_on(stack, node):
    """Return the files in which the ranks of a node note their phases."""
    return list(stack.folder.glob(f"{node}/attempts/*/run/ranks/*.phases.jsonl"))


def below(collector, span, name):
    """Return the children of a span with this name."""
    return [child for child in collector.of(TRACE, name) if child.parent_id == span.span_id]


def test_one_trace_goes_from_the_request_to_the_placements(collector, trained):
    [request] = [span for span in collector.of(TRACE) if span.is_server]
    assert (request.service, request.name) == ("nvae-api", "POST /v1/jobs")
    assert request.parent_id == CLIENT["traceparent"].split("-")[2]
    assert request.attributes["http.response.status_code"] == 201
    assert request.attributes["nvae.job.id"] == trained.id
    placements = below(collector, request, "place job")
    assert [span.attributes["nvae.attempt.number"] for span in placements] == [1, 2]
    assert {span.service for span in placements} == {"nvae-scheduler"}
    assert placements[0].started_at > request.started_at
    spans = collector.of(TRACE)
    missing = {span.parent_id for span in spans} - {span.span_id for span in spans}
    assert len(missing - {request.parent_id}) <= 1  # what the killed runner was doing


def test_attempt_that_succeeds_shows_both_nodes_down_to_the_phases_of_their_ranks(
    collector, trained
):
    placement = collector.of(TRACE, "place job")[1]
    claims = below(collector, placement, "claim attempt")
    assert {span.attributes["nvae.node.name"] for span in claims} == {"local", "n2"}
    ranks = {}
    for claim in claims:
        assert claim.service == "nvae-worker"
        [run] = below(collector, claim, "run attempt")
        assert run.service == "nvae-runner"
        assert run.attributes["nvae.attempt.number"] == 2
        assert run.attributes["nvae.job.id"] == trained.id
        assert run.error is None
        steps = ("fetch inputs", "wait for go", "run trainer", "finish attempt")
        parts = [part for name in steps for part in below(collector, run, name)]
        assert [part.name for part in parts] == list(steps)
        assert placement.started_at <= claim.started_at <= run.started_at
        for part, after in pairwise(parts):
            assert run.started_at <= part.started_at <= part.ended_at <= after.started_at
        assert parts[-1].ended_at <= run.ended_at
        trainer = parts[2]
        [rank] = below(collector, trainer, "rank")
        assert trainer.started_at < rank.started_at < rank.ended_at < trainer.ended_at
        assert rank.error is None
        ranks[rank.attributes["nvae.rank"]] = rank
        phases = [span for span in collector.of(TRACE) if span.parent_id == rank.span_id]
        assert phases[0].name == "start"
        for phase, after in pairwise(phases):
            assert phase.ended_at == after.started_at
        assert (phases[0].started_at, phases[-1].ended_at) == (rank.started_at, rank.ended_at)
        assert rank.attributes["nvae.phase.train.count"] < NUM_STEPS / 2
    assert set(ranks) == {0, 1}
    told = {name for name in PHASES if f"nvae.phase.{name}.count" in ranks[0].attributes}
    assert told == set(PHASES)
    stored = [span.attributes["nvae.step"] for span in collector.of(TRACE, "publish checkpoint")]
    assert NUM_STEPS in stored


def test_attempt_whose_runner_was_killed_says_so(collector, trained):
    placement = collector.of(TRACE, "place job")[0]
    [lost] = below(collector, placement, "find lost")
    assert (lost.service, lost.error) == ("nvae-worker", "the runner on n2 died")
    assert lost.attributes["nvae.node.name"] == "n2"
    [rank] = below(collector, placement, "rank")  # told by the worker
    assert "last heard of in" in rank.error
    assert rank.started_at < rank.ended_at <= lost.ended_at
    [local] = [
        run
        for claim in below(collector, placement, "claim attempt")
        for run in below(collector, claim, "run attempt")
    ]
    assert local.attributes["nvae.node.name"] == "local"
    retried = collector.of(TRACE, "place job")[1]
    assert retried.started_at >= lost.started_at


def test_logs_of_every_service_name_the_trace(stack, trained):
    logs = [*stack.logs("logs/*.log"), *stack.logs("runner.log")]
    lines = [line for log in logs for line in log.decode(errors="replace").splitlines()]
    events = [json.loads(line) for line in lines if line.startswith("{")]
    services = {event["service"] for event in events if event.get("trace_id") == TRACE}
    assert services == {"api", "scheduler", "worker", "runner"}
