"""The client against a whole service that trains."""

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from nvae_client import Event, Job, JobFailed, LogText, NvaeClient, ServiceError

TRAIN = {"kind": "train", "preset": "mnist-test", "dataset": "digits"}


@dataclass(frozen=True)
class Trained:
    job: Job
    seen: list[Job]
    events: list[Event]
    pieces: list[LogText]


@pytest.fixture(scope="module")
def trained(client, dataset):
    """What was heard of a job from its submission to its end, all at the same time."""
    spec = TRAIN | {"name": "first", "tags": {"team": "vision"}}
    job = client.jobs.submit(spec | {"checkpoint": {"every_steps": 15}})
    seen = []
    with ThreadPoolExecutor() as threads:
        events = threads.submit(lambda: [*job.events()])
        pieces = threads.submit(lambda: [*job.logs(follow=True)])
        ended = job.wait(on_change=seen.append, look_seconds=5)
    return Trained(ended, seen, events.result(), pieces.result())


@pytest.fixture
def job(trained):
    return trained.job


def test_wait_sees_the_job_move(trained):
    statuses = [job.status for job in trained.seen]
    assert statuses[-1] == "succeeded"
    assert "running" in statuses
    assert trained.job.result is not None


def test_events_come_one_by_one_until_the_job_has_ended(trained):
    events = trained.events
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    types = [event.type for event in events]
    assert (types[0], types[-1]) == ("submitted", "succeeded")
    assert {"starting", "running", "checkpoint"} <= {*types}
    assert list(trained.job.events(follow=False)) == events
    assert list(trained.job.events(after=len(events) - 1)) == events[-1:]


def test_log_is_followed_to_its_end(trained):
    followed = "".join(piece.text for piece in trained.pieces)
    [whole] = trained.job.logs(tail=10_000)
    assert "step 30" in followed
    assert followed.strip().splitlines() == whole.text.strip().splitlines()
    [last] = trained.job.logs(tail=1)
    assert whole.text.endswith(last.text)
    assert last.text.count("\n") <= 1


def test_metrics_are_columns(job):
    found = job.metrics(names=["loss", "kl"], from_step=10)
    assert {*found} == {"loss", "kl"}
    assert found["loss"]["step"][-1] == job.progress.num_steps
    assert all(map(math.isfinite, found["loss"]["value"]))
    assert len(found["loss"]["step"]) == len(found["loss"]["value"])


def test_same_key_is_the_same_job(client, dataset):
    spec = TRAIN | {"priority": 0}
    first, second = (client.jobs.submit(spec, idempotency_key="once") for _ in range(2))
    assert first.id == second.id
    with pytest.raises(ServiceError) as refusal:
        client.jobs.submit(spec | {"seed": 9}, idempotency_key="once")
    assert (refusal.value.status, refusal.value.code) == (422, "idempotency_key_reused")
    with pytest.raises(JobFailed) as failure:
        first.cancel(force=True).wait()
    assert failure.value.job.status == "cancelled"


def test_checkpoint_is_downloaded_from_where_it_was_cut(job, tmp_path):
    checkpoint = job.checkpoints()[-1]
    model = max(checkpoint.files, key=lambda file: file.size_bytes)
    whole = checkpoint.download(tmp_path / "whole")
    (tmp_path / "cut").mkdir()
    content = (whole / model.name).read_bytes()
    (tmp_path / "cut" / f"{model.name}.part").write_bytes(content[: len(content) // 2])
    told = []
    checkpoint.download(tmp_path / "cut", on_progress=lambda name, done: told.append((name, done)))
    assert min(done for name, done in told if name == model.name) > len(content) // 2
    for file in checkpoint.files:
        found = (tmp_path / "cut" / file.name).read_bytes()
        assert hashlib.sha256(found).hexdigest() == file.sha256
    assert not [*tmp_path.rglob("*.part")]


def test_picture_is_drawn_and_downloaded_the_same(client, job, tmp_path):
    spec = {"checkpoint": job.checkpoints()[-1].id, "temperature": 0.7, "seed": 5}
    drawn = client.jobs.draw(spec)
    assert drawn.picture is not None
    assert drawn.picture.startswith(b"\x89PNG")
    [grid] = client.jobs.get(drawn.job_id).pictures()
    assert grid.download(tmp_path / "grid.png").read_bytes() == drawn.picture


def test_job_is_paused_resumed_forked_and_cancelled(client, long_job, wait_for):
    wait_for(long_job, "running", step=1)
    long_job.pause()
    paused = wait_for(long_job, "paused")
    assert paused.reason == "paused_by_user"
    assert long_job.resume().status == "queued"
    fork = long_job.fork(name="fork", overrides={"optimization.epochs": 10_001})
    assert (fork.parent_id, fork.name) == (long_job.id, "fork")
    assert [job.id for job in client.jobs.list(parent=long_job.id)] == [fork.id]
    fork.cancel(force=True)
    assert client.checkpoints.get(fork.checkpoint_id).job_id == long_job.id


def test_jobs_are_found_by_what_they_are(client, job):
    for choice in ({"tag": "team:vision"}, {"name": "first"}, {"preset": "mnist-test"}):
        assert job.id in [one.id for one in client.jobs.list(**choice, page_size=2)]
    assert job.id not in [one.id for one in client.jobs.list(created_after=job.finished_at)]
    assert job.id not in [one.id for one in client.jobs.list(kind="sample")]


def test_plan_says_what_it_would_take_and_what_is_wrong(client, dataset):
    plan = client.jobs.plan(TRAIN)
    assert plan.valid
    assert plan.num_ranks == 1
    assert plan.training.num_parameters > 10_000
    assert plan.training.num_steps == 30
    assert plan.training.checkpoint_bytes > 100_000
    wrong = client.jobs.plan(TRAIN | {"overrides": {"optimization.epochs": 0}})
    assert not wrong.valid
    assert [problem.pointer for problem in wrong.problems] == ["/overrides/optimization.epochs"]


def test_key_opens_what_its_scopes_say(service, client, dataset):
    key = client.keys.create("reader", scopes=["read"])
    assert key.key not in {None, service.api_key}
    with NvaeClient(service.url, key.key) as reader:
        assert reader.datasets.get("digits") == dataset
        with pytest.raises(ServiceError) as refusal:
            reader.jobs.submit(TRAIN)
        assert refusal.value.code == "forbidden"
    assert client.keys.revoke(key.id).revoked_at is not None
    assert key.id in [one.id for one in client.keys.list()]
    with NvaeClient(service.url, "nvae_" + "x" * 43) as stranger:
        with pytest.raises(ServiceError) as refusal:
            stranger.nodes.list()
        assert refusal.value.code == "unauthenticated"


def test_nodes_checkpoints_and_data_sets_are_changed(client, job):
    [node] = client.nodes.list()
    assert client.nodes.cordon(node.id).cordoned
    assert not client.nodes.uncordon(node.id).cordoned
    first = job.checkpoints()[0]
    assert first.pin().pinned
    assert not first.unpin().pinned
    assert first.delete().status in {"deleting", "deleted"}
    spare = client.datasets.register("spare", {"kind": "bundled", "name": "mnist_5k"})
    spare.job.wait()
    assert client.datasets.delete("spare").name == "spare"
    assert "mnist-test" in [preset.name for preset in client.presets.list()]
