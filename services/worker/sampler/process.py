"""The worker's side of warm sampling: residents, started when they are wanted."""

import os
import subprocess
import sys
from pathlib import Path

import structlog

from services.settings import WorkerSettings
from services.worker.sampler.client import (
    FOLDER_NAME,
    LOG_NAME,
    SOCKET_NAME,
    WANTED_NAME,
    lock_start,
    sampler_marker,
)
from services.worker.trainer.process import trainer_environment

PROGRAM = "nvae_core.cli.resident_sampler"
MAX_LOG_BYTES = 2**20  # of those before
log = structlog.get_logger()


class SamplerProcesses:
    """Starts the resident samplers of a node; one ends by itself when idle, or with the worker."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start_wanted(self) -> None:
        """Start those that runners have missed since the last look; blocks.

        Pictures come without them too, so what goes wrong here is told, and ends nothing.
        """
        for wanted in (self._settings.data_folder / FOLDER_NAME).glob(f"*/{WANTED_NAME}"):
            try:
                with lock_start(wanted.parent, wait=False):
                    self._start_if_wanted(wanted)
            except BlockingIOError:  # a training takes its GPU just now
                continue
            except OSError as error:
                log.error("sampler.not_started", name=wanted.parent.name, exc_info=error)

    def _start_if_wanted(self, wanted: Path) -> None:
        if wanted.exists():
            gpu = wanted.read_text()
            wanted.unlink()
            self._start(wanted.parent, gpu)

    def _start(self, folder: Path, gpu: str) -> None:
        process = self._processes.get(folder.name)
        is_running = process is not None and process.poll() is None
        if is_running or self._settings.sampler_bytes == 0:
            return
        log.info("sampler.started", name=folder.name, budget_bytes=self._settings.sampler_bytes)
        log_path = folder / LOG_NAME
        if log_path.exists() and log_path.stat().st_size > MAX_LOG_BYTES:
            log_path.unlink()
        with log_path.open("ab") as output:
            self._processes[folder.name] = subprocess.Popen(
                [
                    *(sys.executable, "-m", PROGRAM, str(folder / SOCKET_NAME)),
                    str(self._settings.sampler_bytes),
                    str(self._settings.sampler_idle_seconds),
                ],
                env=_environment(folder, gpu),
                stdin=subprocess.PIPE,  # its end is that of the worker
                stdout=output,
                stderr=output,
                start_new_session=True,
            )


def _environment(folder: Path, gpu: str) -> dict[str, str]:
    """Return the environment of a resident on a GPU, or without one on the cores."""
    slot_kind = "gpu" if gpu else "cpu"
    environment = trainer_environment(os.environ, slot_kind=slot_kind, num_threads=1)
    name, _, value = sampler_marker(folder).partition("=")
    environment[name] = value
    if gpu:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    return environment
