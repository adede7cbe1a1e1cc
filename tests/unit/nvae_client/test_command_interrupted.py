"""Ctrl-C lets go of a job and says how to come back; a reader that goes away is no error."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
from scripted_server import Reply, answer

COMMAND = [sys.executable, "-m", "nvae_client.cli.main"]


@pytest.fixture
def environment(server):
    return os.environ | {"NVAE_API_URL": server.url, "NVAE_API_KEY": "nvae_key"}


def wait_for_requests(server, count):
    deadline = time.monotonic() + 30
    while len(server.requests) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def start(environment):
    """Return a function that starts the command; what still runs at the end is killed."""
    with ExitStack() as stack:

        def run(*words):
            command = [*COMMAND, *words]
            process = subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield run


def interrupt(process):
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert "Traceback" not in told
    return process.returncode, told


def test_interrupt_lets_go_of_the_job_that_was_submitted(server, start, job_answer):
    server.script("/v1/jobs", answer(job_answer(), 201))
    server.script("/v1/jobs/job_1", answer(job_answer(), ETag='"1"'), Reply(status=304))
    process = start("train", "-p", "mnist-cpu", "-d", "mnist", "-f")
    wait_for_requests(server, 3)
    code, told = interrupt(process)
    assert code == 130
    assert "come back:  nvae watch job_1" in told
    assert {request.path for request in server.requests} == {"/v1/jobs", "/v1/jobs/job_1"}


def test_interrupt_ends_watching(server, start, job_answer):
    server.script("/v1/jobs/job_1", answer(job_answer()))
    process = start("watch", "job_1", "--every", "0.2")
    wait_for_requests(server, 2)
    code, told = interrupt(process)
    assert code == 130
    assert "come back: nvae watch job_1" in told


def test_reader_that_goes_away_leaves_no_traceback(server, start, job_answer):
    jobs = [job_answer(id=f"job_{index}", name="x" * 100) for index in range(200)]
    server.script("/v1/jobs", answer({"jobs": jobs, "next_cursor": None}))
    process = start("jobs", "--limit", "200")
    process.stdout.readline()
    process.stdout.close()
    told = process.stderr.read()
    process.wait(timeout=60)
    assert "Traceback" not in told
