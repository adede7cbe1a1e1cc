"""The resident sampler: what it is asked, which models stay loaded, and which go first."""

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nvae_core.checkpoint import CheckpointCorrupt, load_model
from nvae_core.config import ModelConfig, OptimizationConfig, SampleConfig
from nvae_core.run_directory import Result, RunDirectory
from nvae_core.sampling import server
from nvae_core.sampling.sampler import Sampler
from nvae_core.sampling.server import LoadedSamplers, RequestQueue, serve
from nvae_core.training.checkpointer import save_checkpoint
from nvae_core.training.state import start_training

CPU = torch.device("cpu")


@pytest.fixture
def save(tmp_path: Path, model_config: ModelConfig) -> Callable[[str, int], Path]:
    """Return a function that saves a checkpoint of a seed below a folder."""

    def save_one(name: str, seed: int) -> Path:
        optimization = OptimizationConfig(epochs=1, batch_size=4, warmup_epochs=0)
        state = start_training(model_config, optimization, seed=seed, device=CPU)
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return save_checkpoint(folder, state, optimization=optimization, seed=seed)

    return save_one


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The checkpoints that were loaded."""
    loaded: list[Path] = []

    def load(cls: type[Sampler], checkpoint: Path, device: torch.device) -> Sampler:
        loaded.append(checkpoint)
        return cls(*load_model(checkpoint, device), device)

    monkeypatch.setattr(Sampler, "load", classmethod(load))
    return loaded


def re_estimate(sampler: Sampler, temperature: float) -> None:
    sampler.re_estimated(sampler.key(temperature, 1))


def test_last_used_models_stay_within_the_budget(
    save: Callable[[str, int], Path], loads: list[Path]
) -> None:
    first, second, third = (save(name, seed) for seed, name in enumerate("abc"))
    size = Sampler.load(first, CPU).num_bytes
    loads.clear()
    loaded = LoadedSamplers(2 * size, CPU)
    for checkpoint in (first, second, first, third):
        loaded.take(checkpoint)
        loaded.trim()
    assert (loads, loaded.num_bytes) == ([first, second, third], 2 * size)
    loaded.take(first)
    assert len(loads) == 3
    loaded.take(second)
    assert loads[3:] == [second]


def test_statistics_go_before_models(save: Callable[[str, int], Path]) -> None:
    checkpoint = save("a", 0)
    size = Sampler.load(checkpoint, CPU).num_bytes
    loaded = LoadedSamplers(2 * size, CPU)
    sampler = loaded.take(checkpoint)
    for temperature in (0.5, 0.6, 0.7, 0.8):
        re_estimate(sampler, temperature)
    assert loaded.num_bytes > 2 * size
    loaded.trim()
    assert size < loaded.num_bytes <= 2 * size
    assert loaded.take(checkpoint) is sampler
    small = LoadedSamplers(size // 2, CPU)
    re_estimate(small.take(checkpoint), 0.5)
    small.trim()
    assert small.num_bytes == 0


def test_another_checkpoint_at_the_same_path_is_another_model(
    save: Callable[[str, int], Path],
) -> None:
    loaded = LoadedSamplers(10**9, CPU)
    checkpoint = save("a", 0)
    first = loaded.take(checkpoint)
    assert loaded.take(checkpoint) is first
    for path in sorted(checkpoint.iterdir()):
        path.unlink()
    with pytest.raises(CheckpointCorrupt):
        loaded.take(checkpoint)
    other = save("b", 1)
    for path in other.iterdir():
        path.rename(checkpoint / path.name)
    assert loaded.take(checkpoint).model_sha256 != first.model_sha256


def ask(path: Path, request: bytes) -> tuple[socket.socket, bytes]:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(60)
    try:
        connection.connect(str(path))
        connection.sendall(request)
        return connection, connection.recv(100)
    except OSError:
        connection.close()
        raise


@pytest.mark.parametrize(
    "garbage", [b"\xff\n", b"nonsense\n", b"[]\n", b"{}\n", b'{"run_directory": 3}\n']
)
def test_request_that_is_none_leaves_the_next_one_alone(tmp_path: Path, garbage: bytes) -> None:
    requests = RequestQueue(tmp_path / "socket")
    refused, answer = ask(tmp_path / "socket", garbage)
    assert answer == b""
    connection, answer = ask(tmp_path / "socket", b'{"run_directory": "/run"}\n')
    assert answer == b"queued\n"
    request = requests.next(60)
    assert request is not None
    assert request.run_directory == Path("/run")
    assert not request.is_closed()
    connection.close()
    assert request.is_closed()
    request.connection.close()
    refused.close()


def test_run_with_a_broken_device_is_left_to_another_process(
    tmp_path: Path, save: Callable[[str, int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> Result:
        raise torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered")

    monkeypatch.setattr(server, "sample_run", fail)
    run = RunDirectory(tmp_path / "run")
    run.create(SampleConfig(checkpoint=str(save("a", 0))))
    answers: list[bytes] = []

    def client() -> None:
        request = json.dumps({"run_directory": str(run.path)}).encode()
        while True:
            try:
                connection, first = ask(tmp_path / "socket", request + b"\n")
            except (FileNotFoundError, ConnectionRefusedError):  # it does not listen yet
                continue
            with connection, connection.makefile("rb") as stream:
                answers.append(first + stream.read())
            return

    thread = threading.Thread(target=client)
    thread.start()
    status = serve(tmp_path / "socket", budget_bytes=10**9, idle_seconds=60.0, device=CPU)
    thread.join()
    assert status == 1
    assert answers == [b"queued\nbegun\n"]
    assert run.read_result() is None
