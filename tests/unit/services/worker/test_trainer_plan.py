"""What the trainer is started with, and how its end is judged."""

import subprocess
import sys

import pytest

from nvae_core.run_directory import ExitReason, Result, RunDirectory
from services.domain.states import Reason
from services.processes import find_marked, kill_marked
from services.worker.runner.outcome import outcome_of_run
from services.worker.trainer.process import TrainerPlan
from services.worker.trainer.rendezvous import Gang


def plan(tmp_path, **changes):
    values = {
        "kind": "train",
        "run_directory": RunDirectory(tmp_path),
        "marker": "NVAE_ATTEMPT=att_1:7",
        "slots": ("GPU-1", "GPU-3"),
        "slot_kind": "gpu",
        "threads_per_slot": 4,
    }
    return TrainerPlan(**(values | changes))


def test_one_rank_is_started_per_slot(tmp_path):
    command = plan(tmp_path).command()
    assert "--nproc-per-node=2" in command
    assert command[-2:] == ["nvae_core.cli.train", str(tmp_path)]


def test_one_rank_alone_needs_no_torchrun(tmp_path):
    command = plan(tmp_path, slots=("GPU-1",)).command()
    assert command[1:3] == ["-m", "nvae_core.cli.train"]


def test_one_rank_of_a_gang_meets_the_others_by_torchrun(tmp_path):
    gang = Gang(2, 1, "10.0.0.1", "10.0.0.2", 29500, "att_1-7")
    assert "torch.distributed.run" in plan(tmp_path, slots=("GPU-1",), gang=gang).command()


def test_gpu_attempt_sees_its_own_devices_only(tmp_path):
    assert plan(tmp_path).environment({})["CUDA_VISIBLE_DEVICES"] == "GPU-1,GPU-3"
    assert "CUDA_VISIBLE_DEVICES" not in plan(tmp_path, slot_kind="cpu").environment({})


@pytest.mark.parametrize("kind", ["train", "evaluate", "sample", "analyze"])
@pytest.mark.parametrize(("slot_kind", "device"), [("gpu", "cuda"), ("cpu", "cpu")])
def test_trainer_is_told_which_device_its_slots_are(kind, slot_kind, device, tmp_path):
    environment = plan(tmp_path, kind=kind, slot_kind=slot_kind).environment({"NVAE_DEVICE": "?"})
    assert environment["NVAE_DEVICE"] == device


def test_trainer_gets_no_password_of_the_services(tmp_path):
    inherited = {"PATH": "/bin", "NVAE_DATABASE_URL": "secret", "NVAE_S3_SECRET_KEY": "secret"}
    environment = plan(tmp_path).environment(inherited)
    assert "secret" not in environment.values()
    assert environment["PATH"] == "/bin"
    assert environment["NVAE_ATTEMPT"] == "att_1:7"
    assert environment["OMP_NUM_THREADS"] == "4"


def test_trainer_that_is_traced_knows_its_trace_and_not_the_collector(tmp_path):
    inherited = {"OTEL_EXPORTER_OTLP_HEADERS": "secret", "TRACEPARENT": "of the worker"}
    assert "TRACEPARENT" not in plan(tmp_path).environment(inherited)
    environment = plan(tmp_path, traceparent="00-1-2-01").environment(inherited)
    assert environment["TRACEPARENT"] == "00-1-2-01"
    assert "secret" not in environment.values()


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (Result(status="succeeded", step=3), Reason.SUCCEEDED),
        (Result(status="stopped", reason=ExitReason.STOPPED), Reason.WORKER_LOST),
        (Result(status="failed", reason=ExitReason.LEASE_LOST), Reason.WORKER_LOST),
        (Result(status="failed", reason=ExitReason.OUT_OF_MEMORY), Reason.OUT_OF_MEMORY),
        (Result(status="failed", reason=ExitReason.GPU_UNAVAILABLE), Reason.GPU_UNAVAILABLE),
        (Result(status="failed", reason=ExitReason.DEVICE_ERROR), Reason.DEVICE_ERROR),
        (None, Reason.TRAINER_CRASHED),
    ],
)
def test_result_decides_and_not_the_exit_code(result, reason):
    assert outcome_of_run(result, 1, "last words").reason == reason


def test_crash_without_a_result_shows_the_last_log_lines():
    message = outcome_of_run(None, -9, "Segmentation fault").message
    assert "-9" in message
    assert "Segmentation fault" in message


TORCHRUN_LOG = """
Sending process 215 closing signal SIGTERM
failed (exitcode: {}) local_rank: 1 (pid: 217) of binary: python
  traceback : Signal 15 (SIGTERM) received by PID 215
"""


@pytest.mark.parametrize(
    ("exit_code", "reason"), [(-9, Reason.TRAINER_CRASHED), (1, Reason.PEER_LOST)]
)
def test_rank_that_was_killed_is_the_cause_and_not_its_peer_that_missed_it(exit_code, reason):
    missed = Result(status="failed", reason=ExitReason.PEER_LOST, message="gloo")
    gang = Gang(2, 1, "10.0.0.1", "10.0.0.2", 29500, "att_1-7")
    outcome = outcome_of_run(missed, 1, "", gang=gang, torchrun_log=TORCHRUN_LOG.format(exit_code))
    assert outcome.reason == reason
    assert ("local rank 1 ended without a word: Killed" in outcome.message) == (exit_code == -9)


def test_marked_processes_are_killed_and_others_are_not():
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    marked = subprocess.Popen(sleep, env={"NVAE_ATTEMPT": "att_test:1"}, start_new_session=True)
    other = subprocess.Popen(sleep, env={"NVAE_ATTEMPT": "att_test:11"})
    try:
        while marked.pid not in find_marked("NVAE_ATTEMPT=att_test:1"):
            assert marked.poll() is None
        assert kill_marked("NVAE_ATTEMPT=att_test:1") == set()
        assert marked.wait(5) == -9
        assert other.poll() is None
    finally:
        for process in (marked, other):
            process.kill()
            process.wait()
