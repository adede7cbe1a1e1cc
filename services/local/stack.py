"""Which parts a stack has, their environment and order; and the servers alone, for tests."""

import os
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from services.local import processes, state
from services.local.processes import Part, WhenItEnds, bring_up, refuse_taken_ports, take_down
from services.local.servers import (
    BUCKET,
    broker_url,
    database_url,
    postgres,
    s3_url,
    seaweedfs,
    valkey,
)
from services.local.state import (
    HOST,
    MARKER,
    MAX_PORT,
    PARENT_LOCK,
    StackFile,
    create_folder,
    load_or_create,
)

_S3_SELF_TEST = (sys.executable, "-m", "services.storage.s3")


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
        PARENT_LOCK: str(state.parent_lock_path(folder)),
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


def server_parts(folder: Path, stack: StackFile) -> list[Part]:
    """Postgres, Valkey and SeaweedFS."""
    environment = inherited(server_environment(folder, stack))
    return [
        postgres(folder, stack),
        valkey(folder, stack),
        seaweedfs(folder, stack, environment=environment, self_test=_S3_SELF_TEST),
    ]


def service_parts(stack: StackFile, options: ServiceOptions) -> list[Part]:
    """The migration and the first API key, then our services."""
    offset = 100 if options.api_port + 100 <= MAX_PORT else -100
    other_port = options.api_port + offset
    bootstrap = _service("bootstrap", "services.api.bootstrap", WhenItEnds.CONTINUE)
    return [
        _service("migrate", "services.database.migrate", WhenItEnds.CONTINUE),
        replace(bootstrap, environment={"NVAE_API_BOOTSTRAP_KEY": stack.api_key}),
        Part(
            name="api",
            command=(sys.executable, "-m", "services.api"),
            ports=(options.api_port,),
            if_taken=(
                f": choose another with make up PORT={other_port} (or NVAE_API_PORT={other_port})"
            ),
            is_ready=lambda: _answers_ok(f"{api_url(options)}/readyz"),
        ),
        _service("scheduler", "services.scheduler"),
        _service("worker", "services.worker"),
    ]


@contextmanager
def running_servers(folder: Path) -> Iterator[Mapping[str, str]]:
    """Start the three servers in ``folder``, yield the environment that leads to them, stop them.

    From the main thread only, because the servers end with the thread that started them.
    """
    folder = create_folder(folder)
    with closing(state.hold_parent_lock(folder)), ExitStack() as running:
        stack = load_or_create(folder)
        environment = server_environment(folder, stack)
        parts = server_parts(folder, stack)
        processes.end_leftovers(lambda: processes.leftover_processes(folder, stack.stack_id))
        refuse_taken_ports(parts)
        running.callback(
            processes.end_leftovers, lambda: processes.leftover_processes(folder, stack.stack_id)
        )
        for part in parts:
            process = bring_up(part, environment=inherited(environment), logs=folder / "logs")
            running.callback(take_down, part, process)
        yield environment


def _service(name: str, module: str, when_it_ends: WhenItEnds = WhenItEnds.RESTART) -> Part:
    return Part(name=name, command=(sys.executable, "-m", module), when_it_ends=when_it_ends)


def _answers_ok(url: str) -> bool:
    # Not through the proxy that the environment may name.
    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with directly.open(url, timeout=5.0) as response:
            return bool(response.status == 200)
    except OSError:  # URLError is one
        return False
