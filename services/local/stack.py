"""Which parts the stack has and in which order they start; and the servers alone, for tests."""

import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

from services.local import lifeline, strays
from services.local.environment import ServiceOptions, api_url, inherited, server_environment
from services.local.parts import Part, WhenItEnds, bring_up, refuse_taken_ports, take_down
from services.local.servers.postgres import postgres
from services.local.servers.seaweedfs import seaweedfs
from services.local.servers.valkey import valkey
from services.local.stack_file import StackFile, load_or_create

_S3_SELF_TEST = (sys.executable, "-m", "services.storage.s3")


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
    bootstrap = _service("bootstrap", "services.api.bootstrap", WhenItEnds.CONTINUE)
    return [
        _service("migrate", "services.database.migrate", WhenItEnds.CONTINUE),
        replace(bootstrap, environment={"NVAE_API_BOOTSTRAP_KEY": stack.api_key}),
        Part(
            name="api",
            command=(sys.executable, "-m", "services.api"),
            ports=(options.api_port,),
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
    with closing(lifeline.hold(folder)), ExitStack() as running:
        stack = load_or_create(folder)
        environment = server_environment(folder, stack)
        parts = server_parts(folder, stack)
        strays.sweep(lambda: strays.all_of(folder, stack.stack_id))
        refuse_taken_ports(parts)
        running.callback(strays.sweep, lambda: strays.all_of(folder, stack.stack_id))
        for part in parts:
            process = bring_up(part, environment=inherited(environment), logs=folder / "logs")
            running.callback(take_down, part, process)
        yield environment


def create_folder(folder: Path) -> Path:
    """Make a data folder that only we can look into; its absolute path."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("logs", "worker", "datasets"):
        (folder / name).mkdir(exist_ok=True, mode=0o700)
    return folder


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
