"""The environment every process of the stack gets: where the servers are, and which stack it is."""

import os
from dataclasses import dataclass
from pathlib import Path

from services.local import lifeline
from services.local.ports import HOST
from services.local.servers.postgres import database_url
from services.local.servers.seaweedfs import BUCKET, s3_url
from services.local.servers.valkey import broker_url
from services.local.stack_file import StackFile

MARKER = "NVAE_STACK"
LIFELINE = "NVAE_LIFELINE"
OF_ITS_PROCESSES = frozenset({MARKER, LIFELINE})  # whoever has them ends with the stack


@dataclass(frozen=True, kw_only=True)
class ServiceOptions:
    """What the user chooses about our services on this machine."""

    api_port: int
    num_slots: int | None  # none: all GPUs, or all cores where there are none
    datasets: Path | None  # none: a folder beside the rest


def server_environment(folder: Path, stack: StackFile) -> dict[str, str]:
    """What leads to the three servers."""
    return {
        "NVAE_DATABASE_URL": database_url(stack),
        "NVAE_BROKER_URL": broker_url(stack),
        "NVAE_S3_ENDPOINT_URL": s3_url(stack),
        "NVAE_S3_PUBLIC_ENDPOINT_URL": s3_url(stack),
        "NVAE_S3_BUCKET": BUCKET,
        "NVAE_S3_ACCESS_KEY": stack.s3_access_key,
        "NVAE_S3_SECRET_KEY": stack.s3_secret_key,
        LIFELINE: str(lifeline.path_in(folder)),
        MARKER: stack.stack_id,
    }


def service_environment(folder: Path, options: ServiceOptions) -> dict[str, str]:
    """What our own services are told on top."""
    chosen = {} if options.num_slots is None else {"NVAE_WORKER_SLOTS": str(options.num_slots)}
    return chosen | {
        "NVAE_API_HOST": HOST,
        "NVAE_API_PORT": str(options.api_port),
        "NVAE_API_URL": api_url(options),
        "NVAE_WORKER_NODE_NAME": "local",
        "NVAE_WORKER_DATA_FOLDER": str(folder / "worker"),
        "NVAE_WORKER_DATASETS_FOLDER": str(options.datasets or folder / "datasets"),
    }


def api_url(options: ServiceOptions) -> str:
    """Where clients find the API."""
    return f"http://{HOST}:{options.api_port}"


def inherited(extra: dict[str, str]) -> dict[str, str]:
    """Our own environment with the stack's on top."""
    return {**os.environ, **extra}
