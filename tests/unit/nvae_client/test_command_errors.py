"""Mistakes and faults at the terminal: what is told, where, and with which exit code."""

import json

import pytest
from scripted_server import Reply, answer, problem

PRESETS = [
    {"name": name, "description": "d", "model": {"image_size": 28}, "optimization": {"epochs": 3}}
    for name in ("mnist-cpu", "mnist-test", "cifar10")
]
TRAIN = ("train", "--preset", "mnist-cpu", "--dataset", "mnist")


def test_refusals_in_json_go_to_standard_error(run, server):
    error = {"pointer": "/preset", "message": "unknown"}
    server.script("/v1/jobs", problem(422, "invalid_spec", "bad", [error]))
    done = run(*TRAIN, "--json")
    assert (done.exit_code, done.stdout) == (4, "")
    told = json.loads(done.stderr)["error"]
    assert (told["code"], told["errors"]) == ("invalid_spec", [error])


@pytest.mark.parametrize(
    ("words", "pointer", "hint"),
    [
        (("--preset", "mnist-cpuu"), "/preset", "The nearest preset: mnist-cpu"),
        (("--dataset", "mnits"), "/dataset", "The nearest data set that is ready: mnist"),
        (("--dataset", "zzz"), "/dataset", "There is no such data set that is ready"),
        (
            ("-o", "optimization.epoch=1"),
            "/overrides/optimization.epoch",
            "The nearest override: optimization.epochs",
        ),
    ],
)
def test_unknown_names_come_with_the_nearest_ones(run, server, words, pointer, hint):
    error = {"pointer": pointer, "message": "is not known"}
    server.script("/v1/jobs", problem(422, "invalid_spec", "bad", [error]))
    server.script("/v1/presets", answer(PRESETS))
    dataset = {"id": "ds_1", "name": "mnist", "status": "ready", "source": {}}
    server.script("/v1/datasets", answer([dataset | {"created_at": "2026-01-01T00:00:00Z"}]))
    done = run(*TRAIN, *words)
    assert done.exit_code == 4
    assert f"{pointer}: is not known" in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("reply", "code", "advice"),
    [
        (problem(401, "unauthenticated", "the API key is missing"), 4, "NVAE_API_KEY"),
        (problem(403, "forbidden", "needs the scope admin"), 4, "nvae keys create"),
        (problem(429, "rate_limited", "slow", Retry_After="90"), 4, "Try again in 90 s"),
        (problem(409, "conflict", "job is running"), 4, "job is running"),
        (Reply(b"<html>", 200, {"Content-Type": "text/html"}), 4, "Is that an NVAE service?"),
        (Reply(b"<html>", 404, {"Content-Type": "text/html"}), 4, "Is that an NVAE service?"),
    ],
)
def test_errors_say_what_to_do(run, server, reply, code, advice):
    server.script("/v1/nodes", reply)
    done = run("nodes", "list")
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert advice in done.stderr


def test_nobody_there_is_told_soon(run):
    done = run("--url", "http://127.0.0.1:1", "jobs")
    assert done.exit_code == 5
    assert "no answer from http://127.0.0.1:1" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--url", "127.0.0.1", "jobs"),
        (*TRAIN, "-o", "epochs"),
        (*TRAIN, "-o", "a=1", "-o", "a=2"),
        (*TRAIN, "-s", "seed=1", "-s", "seed.x=2"),
        ("analyze", "nearest_images", "ckpt_1", "ckpt_2"),
        ("checkpoints", "delete", "ckpt_1"),
        ("train",),
        ("no-such-command",),
    ],
)
def test_wrong_usage_is_told_before_anything_is_sent(run, server, words):
    done = run(*words)
    assert (done.exit_code, done.stdout, server.requests) == (2, "", [])
