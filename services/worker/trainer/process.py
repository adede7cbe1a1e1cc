"""The trainer's processes: started from the runner's main thread, ended without a trace."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nvae_core.run_directory import RunDirectory
from services.database.attempts import Claim
from services.domain.states import Reason
from services.processes import kill_marked
from services.worker.trainer.rendezvous import Gang

MARKER = "NVAE_ATTEMPT"
OF_SERVICES = ("NVAE_", "OTEL_", "TRACEPARENT")  # addresses, passwords, where traces go
TERM_SECONDS = 5.0  # from SIGTERM to SIGKILL
PROGRAMS = {
    "train": "nvae_core.cli.train",
    "evaluate": "nvae_core.cli.evaluate",
    "sample": "nvae_core.cli.sample",
    "analyze": "nvae_core.cli.analyze",
    "prepare_dataset": "nvae_core.cli.prepare",
    "import_checkpoint": "nvae_core.cli.import_run",
}


def attempt_marker(claim: Claim) -> str:
    """Return the entry in the environment by which an attempt's processes on a node are found."""
    return f"{MARKER}={claim.attempt_id}:{claim.fence}:{claim.node_rank}"


@dataclass(frozen=True)
class TrainerPlan:
    """What to start: program, ranks, devices, threads."""

    kind: str
    run_directory: RunDirectory
    marker: str
    slots: Sequence[str]  # UUIDs of GPUs, or numbers of shares of the cores
    slot_kind: str
    threads_per_slot: int
    gang: Gang | None = None
    given_command: Sequence[str] | None = None
    traceparent: str | None = None  # of what the ranks are a part of

    def command(self) -> list[str]:
        """Return the command line: torchrun, except for one rank, which needs nobody to find it."""
        if self.given_command is not None:
            return [*self.given_command, str(self.run_directory.path)]
        program = ["-m", PROGRAMS[self.kind], str(self.run_directory.path)]
        if self.gang is None and len(self.slots) == 1:
            return [sys.executable, *program]
        torchrun = ["-m", "torch.distributed.run", "--max-restarts=0"]
        meeting = self.gang.torchrun_options() if self.gang else ["--standalone"]
        ranks = [f"--nproc-per-node={len(self.slots)}", f"--shutdown-timeout={TERM_SECONDS:.0f}"]
        logs = [f"--log-dir={self.run_directory.logs}", "--redirects=3"]
        return [sys.executable, *torchrun, *meeting, *ranks, *logs, *program]

    def heeds_stop_file(self) -> bool:
        """Whether the program looks at the stop file; the others take SIGTERM at once."""
        return self.kind not in {"prepare_dataset", "import_checkpoint"}

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return the trainer's environment: no address or password of the services is in it."""
        environment = trainer_environment(
            inherited, slot_kind=self.slot_kind, num_threads=self.threads_per_slot
        )
        name, _, value = self.marker.partition("=")
        environment[name] = value
        if self.traceparent is not None:
            environment["TRACEPARENT"] = self.traceparent  # the ranks note when their phases begin
        if self.gang:
            environment |= self.gang.environment()
        if self.slot_kind == "gpu":
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(self.slots)
        return environment


def trainer_environment(
    inherited: Mapping[str, str], *, slot_kind: str, num_threads: int
) -> dict[str, str]:
    """Return what every program of `nvae_core` gets: nothing of the services but their stack.

    `NVAE_DEVICE` says where it has to compute: without it a program that finds no GPU would go on,
    slowly, on the cores.
    """
    environment = {
        name: value
        for name, value in inherited.items()
        if not name.startswith(OF_SERVICES) or name == "NVAE_STACK"
    }
    return environment | {
        "OMP_NUM_THREADS": str(num_threads),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # GPUs as nvidia-smi numbers them
        "NVAE_DEVICE": "cuda" if slot_kind == "gpu" else "cpu",
    }


class RunningTrainer(Protocol):
    """Whatever carries out a plan: processes of its own, or a resident sampler."""

    @property
    def reason_without_result(self) -> Reason:
        """Why it ended, where it left no result."""

    def is_running(self) -> bool:
        """Whether it is there."""

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than it runs, where that can be seen."""

    def exit_code(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""

    def terminate(self) -> None:
        """Ask it to end."""

    async def kill(self) -> set[int]:
        """End it; return the pids of what resists."""

    def last_log_lines(self, count: int = 20) -> str:
        """Return the end of what it printed."""

    def torchrun_log(self) -> str:
        """Return what torchrun itself said."""


class Trainer:
    """The running processes of one plan."""

    reason_without_result = Reason.TRAINER_CRASHED

    def __init__(self, plan: TrainerPlan) -> None:
        self._plan = plan
        self._log_path = plan.run_directory.logs / "trainer.log"
        with self._log_path.open("ab") as log:  # a file: a full pipe would block the ranks
            self._process = subprocess.Popen(
                plan.command(),
                env=plan.environment(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def is_running(self) -> bool:
        """Whether torchrun is there."""
        return self._process.poll() is None

    async def pause(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    def exit_code(self) -> int | None:
        """Return torchrun's exit code, negative for a signal, or None while it runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Send SIGTERM to torchrun, which passes it on to the ranks; a second one would kill."""
        if self.is_running():
            self._process.send_signal(signal.SIGTERM)

    async def kill(self) -> set[int]:
        """Kill torchrun and every process that carries the marker; return what resists."""
        if self.is_running():
            self._process.kill()
        left = await asyncio.to_thread(kill_marked, self._plan.marker)
        self._process.poll()
        return left

    def last_log_lines(self, count: int = 20) -> str:
        """Return the end of what the ranks and torchrun printed, rank 0 first if it said much."""
        logs = [*sorted(self._plan.run_directory.logs.rglob("stderr.log")), self._log_path]
        lines: list[str] = []
        for path in logs:
            lines = tail(path, count)
            if lines:
                break
        return "\n".join(lines)

    def torchrun_log(self) -> str:
        """Return what torchrun itself said."""
        return "\n".join(tail(self._log_path, 200))


def tail(path: Path, count: int, limit_bytes: int = 64 * 1024) -> list[str]:
    """Return the last lines of a file; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - limit_bytes))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []
