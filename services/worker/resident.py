"""The worker's side of warm sampling: the resident sampler's process, started when it is wanted."""

import os
import subprocess
import sys

import structlog

from services.settings import WorkerSettings
from services.worker.slots import take_inventory
from services.worker.trainer import trainer_environment
from services.worker.warm_sampling import FOLDER_NAME, LOG_NAME, SOCKET_NAME, WANTED_NAME

PROGRAM = "nvae_core.cli.resident_sampler"

log = structlog.get_logger()


class Resident:
    """Starts the resident sampler of a node; it ends by itself when idle, or with the worker."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._folder = settings.data_folder / FOLDER_NAME
        self._process: subprocess.Popen[bytes] | None = None

    def start_if_wanted(self) -> None:
        """Start it if a runner has missed it since the last look; blocks."""
        wanted = self._folder / WANTED_NAME
        if not wanted.exists():
            return
        wanted.unlink()
        is_running = self._process is not None and self._process.poll() is None
        if is_running or self._settings.sampler_bytes == 0:
            return
        num_threads = take_inventory(self._settings).threads_per_slot
        log.info("sampler.started", budget_bytes=self._settings.sampler_bytes)
        with (self._folder / LOG_NAME).open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", PROGRAM, str(self._folder / SOCKET_NAME)),
                    str(self._settings.sampler_bytes),
                    str(self._settings.sampler_idle_seconds),
                ],
                env=trainer_environment(os.environ, num_threads=num_threads),
                stdin=subprocess.PIPE,  # its end is that of the worker
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
