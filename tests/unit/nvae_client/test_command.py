"""The command against a scripted service: what it prints where, and how it exits."""

import json

import pytest
from scripted_server import Reply, answer, events

TRAIN = ("train", "--preset", "mnist-cpu", "--dataset", "mnist")


def test_training_is_submitted_as_it_was_asked_for(run, server, job_answer):
    server.script("/v1/jobs", answer(job_answer(status="queued"), 201))
    options = (
        "-o",
        "optimization.epochs=200",
        "-o",
        "model.cell=x",
        "--slots",
        2,
        "--tag",
        "a=b=c",
    )
    others = ("-s", "checkpoint.every_steps=100", "-s", "samples.temperatures=[0.6, 1]", "-n", "me")
    done = run(*TRAIN, *options, *others)
    assert (done.exit_code, done.stdout) == (0, "job_1\n")
    assert "nvae watch job_1" in done.stderr
    assert server.requests[0].body == {
        "kind": "train",
        "preset": "mnist-cpu",
        "dataset": "mnist",
        "overrides": {"optimization.epochs": 200, "model.cell": "x"},
        "name": "me",
        "tags": {"a": "b=c"},
        "resources": {"slots": 2},
        "checkpoint": {"every_steps": 100},
        "samples": {"temperatures": [0.6, 1]},
    }


@pytest.mark.parametrize(("status", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 3)])
def test_exit_code_says_how_the_followed_job_ended(run, server, job_answer, status, code):
    server.script("/v1/jobs", answer(job_answer(), 201))
    ended = job_answer(status=status, reason="out_of_memory", message="too large")
    server.script("/v1/jobs/job_1", answer(job_answer()), answer(ended))
    done = run(*TRAIN, "--follow")
    assert (done.exit_code, done.stdout) == (code, "job_1\n")
    if code:
        assert "too large" in done.stderr
        assert "nvae logs job_1" in done.stderr
    watched = run("watch", "job_1", "--every", 0.2)
    assert watched.exit_code == code


def test_json_is_alone_on_standard_output(run, server, job_answer):
    server.script("/v1/jobs", answer(job_answer(), 201))
    server.script("/v1/jobs/job_1", answer(job_answer()), answer(job_answer(status="succeeded")))
    done = run(*TRAIN, "--follow", "--json")
    assert json.loads(done.stdout)["status"] == "succeeded"
    assert done.stderr == ""


def test_log_is_printed_as_it_is_and_attempts_are_told_apart(run, server, job_answer):
    def log(attempt, text):
        return (f"{attempt}-1", "log", {"attempt": attempt, "rank": 0, "offset": 0, "text": text})

    server.script("/v1/jobs/job_1", answer(job_answer()))
    server.script(
        "/v1/jobs/job_1/logs", events(log(1, "[bold]one\n"), log(2, "two"), ("", "end", {}))
    )
    done = run("logs", "-f", "job_1")
    assert (done.exit_code, done.stdout) == (0, "[bold]one\ntwo\n")
    assert "attempt 2" in done.stderr


def test_picture_is_written_where_it_was_wanted(run, server, job_answer, tmp_path):
    headers = {"Content-Type": "image/png", "Location": "/v1/jobs/job_1"}
    server.script("/v1/jobs", Reply(b"PNG", 201, headers))
    server.script("/v1/jobs/job_1", answer(job_answer(status="succeeded")))
    target = tmp_path / "new" / "grid.png"
    done = run("sample", "ckpt_1", "--temperature", 0.7, "-o", target)
    assert (done.exit_code, done.stdout.replace("\n", "")) == (0, str(target))
    assert target.read_bytes() == b"PNG"
    assert server.requests[0].body["temperature"] == [0.7]


def test_metrics_in_json_hold_nothing_that_is_no_json(run, server, job_answer):
    server.script("/v1/jobs/job_1", answer(job_answer()))
    series = {"steps": [1, 2, 3], "values": [1.0, "NaN", "Infinity"]}
    server.script("/v1/jobs/job_1/metrics", answer({"loss": series}))
    done = run("metrics", "job_1", "--json")
    values = json.loads(done.stdout)["loss"]["value"]
    assert values == [1.0, "NaN", "Infinity"]
    assert "×" in run("metrics", "job_1").stdout


def test_new_key_is_alone_on_standard_output(run, server):
    key = {"id": "key_1", "name": "ci", "scopes": ["submit"], "key": "nvae_secret"}
    server.script("/v1/api-keys", answer(key | {"created_at": "2026-01-01T00:00:00Z"}, 201))
    done = run("keys", "create", "ci")
    assert (done.exit_code, done.stdout) == (0, "nvae_secret\n")
    assert "not shown again" in done.stderr


def test_key_whose_answer_was_lost_is_told_to_be_revoked(run, server):
    key = {"id": "key_1", "name": "ci", "scopes": ["submit"], "key": None}
    server.script("/v1/api-keys", answer(key | {"created_at": "2026-01-01T00:00:00Z"}, 201))
    done = run("keys", "create", "ci")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "nvae keys revoke --yes key_1" in done.stderr


@pytest.mark.parametrize("columns", [80, 120])
def test_narrow_terminal_cuts_names_and_never_ids(run, server, monkeypatch, job_answer, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    job_id = f"job_{'0' * 32}"
    listed = {"jobs": [job_answer(id=job_id, name="long name " * 20)], "next_cursor": None}
    server.script("/v1/jobs", answer(listed))
    key = {"id": f"key_{'1' * 32}", "name": "long name " * 20, "scopes": ["read", "submit"]}
    server.script("/v1/api-keys", answer([key | {"created_at": "2026-01-01T00:00:00Z"}]))
    for words, whole in ((("jobs",), (job_id, "running", "10%")), (("keys", "list"), (key["id"],))):
        lines = run(*words).stdout.splitlines()
        assert len(lines) == 2
        assert max(map(len, lines)) <= columns
        assert all(word in lines[1] for word in whole)
        assert "…" in lines[1]


def test_import_prints_its_job(run, server, job_answer):
    server.script("/v1/checkpoints", answer(job_answer(kind="import_checkpoint"), 201))
    done = run("checkpoints", "import", "old", "--kind", "folder")
    assert (done.exit_code, done.stdout) == (0, "job_1\n")
    assert server.requests[0].body == {"name": None, "source": {"kind": "folder", "path": "old"}}


def test_page_of_a_job_names_what_it_computes_on(run, server, job_answer):
    device = {"name": "NVIDIA H200", "torch": "2.13.0", "cuda": "13.0"}
    server.script("/v1/jobs/job_1", answer(job_answer(device=device)))
    server.script("/v1/jobs/job_1/checkpoints", answer([]))
    server.script("/v1/jobs/job_1/artifacts", answer([]))
    assert "NVIDIA H200, torch 2.13.0, CUDA 13.0" in run("show", "job_1").stdout
