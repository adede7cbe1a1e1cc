"""How a run ended: `result.json`."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from nvae_core.run_directory.files import is_disk_full

RESERVED_BYTES = 64 * 1024


class ExitReason(StrEnum):
    """Why a trainer did not succeed, as written to `result.json`."""

    INVALID_CONFIG = "invalid_config"
    INVALID_DATASET = "invalid_dataset"
    CHECKPOINT_CORRUPT = "checkpoint_corrupt"
    NON_FINITE_LOSS = "non_finite_loss"
    OUT_OF_MEMORY = "out_of_memory"
    GPU_UNAVAILABLE = "gpu_unavailable"
    DEVICE_ERROR = "device_error"
    DISK_FULL = "disk_full"
    RENDEZVOUS_TIMEOUT = "rendezvous_timeout"  # not all ranks joined
    PEER_LOST = "peer_lost"  # another rank ended or does not answer
    STALLED = "stalled"  # a rank made no progress for too long
    STOPPED = "stopped"  # asked to, by the stop file or SIGTERM
    LEASE_LOST = "lease_lost"  # the deadman's deadline passed
    TRAINER_CRASHED = "trainer_crashed"


class Result(BaseModel):
    """How the run ended; written once, last, by rank 0 (or by the first rank that fails)."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    status: Literal["succeeded", "stopped", "failed"]
    reason: ExitReason | None = None
    message: str | None = None
    step: int | None = None
    values: dict[str, JsonValue] = {}


class ResultFile:
    """`result.json` of one folder, and room on the disk that is kept for it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reserve_path = path.with_name(".result_reserve")

    def reserve(self) -> None:
        """Keep room on the disk, so that a run that fails on a full disk can say so."""
        self._reserve_path.write_bytes(bytes(RESERVED_BYTES))

    def write(self, result: Result) -> None:
        """Write the result, unless another rank already did: the first cause is the one kept."""
        content = result.model_dump_json(indent=2).encode()
        temporary = self.path.with_name(f".result.{os.getpid()}.json")
        try:
            temporary.write_bytes(content)
        except OSError as error:
            if not is_disk_full(error):
                raise
            self._reserve_path.unlink(missing_ok=True)
            temporary.write_bytes(content)
        try:
            os.link(temporary, self.path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
            self._reserve_path.unlink(missing_ok=True)

    def read(self) -> Result | None:
        """Return the result, or None while there is none."""
        try:
            return Result.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return None
