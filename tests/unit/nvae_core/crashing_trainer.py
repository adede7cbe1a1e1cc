"""Training runs whose ranks kill themselves: `python crashing_trainer.py TASKS`.

The ranks of each task are forked from this process.
"""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import forked_programs

DEADLINE_SECONDS = 300  # also on a busy machine


@dataclass(frozen=True)
class Task:
    """One run; a rank kills itself before a step or in its n-th save, hangs, or never joins."""

    run: str
    world_size: int = 1
    crash_rank: int = 0
    crash_step: int | None = None
    hang_step: int | None = None
    crash_save: int | None = None
    crash_file: str = "model.safetensors"
    missing_rank: int | None = None


def run_tasks(tasks: Sequence[Task]) -> None:
    """Run them in a process of its own, one after the other."""
    arguments = json.dumps([asdict(task) for task in tasks])
    done = forked_programs.run("crashing_trainer", arguments, timeout=DEADLINE_SECONDS)
    assert done.returncode == 0, done.stderr


def main() -> None:
    for arguments in json.loads(sys.argv[1]):
        task = Task(**arguments)
        port = _free_port()
        ranks = [rank for rank in range(task.world_size) if rank != task.missing_rank]
        children = [_start(task, rank, port) for rank in ranks]
        for child in children:
            os.waitpid(child, 0)


def _start(task: Task, rank: int, port: int) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        output = os.open(Path(task.run, f"output_{rank}.txt"), os.O_WRONLY | os.O_CREAT, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ |= {
            "RANK": str(rank),
            "WORLD_SIZE": str(task.world_size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        status = _train(task, rank)
    finally:
        os._exit(status)


def _train(task: Task, rank: int) -> int:
    from nvae_core import checkpoint  # noqa: PLC0415
    from nvae_core.cli import train  # noqa: PLC0415
    from nvae_core.training import train as loop  # noqa: PLC0415

    if rank == task.crash_rank:
        saves = iter(range(1, 10**6))
        loop.take_step = _before(loop.take_step, lambda state: state.step == task.crash_step, _die)
        loop.take_step = _before(loop.take_step, lambda state: state.step == task.hang_step, _hang)
        checkpoint.save_file = _before(
            checkpoint.save_file,
            lambda _, path: path.name == task.crash_file and next(saves) == task.crash_save,
            _die,
        )
    sys.argv[1] = task.run
    return train.main()


def _before(
    work: Callable[..., Any], is_time: Callable[..., bool], accident: Callable[[], None]
) -> Callable[..., Any]:
    def work_after_accident(*args: Any, **kwargs: Any) -> Any:
        if is_time(*args[: is_time.__code__.co_argcount]):
            accident()
        return work(*args, **kwargs)

    return work_after_accident


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang() -> None:
    threading.Event().wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
