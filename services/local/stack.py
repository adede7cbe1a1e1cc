"""Which parts the stack has and in which order they start; and the servers alone, for tests."""

import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from services.local import lifeline
from services.local.environment import inherited, server_environment
from services.local.parts import Part, WhenItEnds, bring_up, take_down
from services.local.servers.postgres import postgres
from services.local.servers.seaweedfs import seaweedfs
from services.local.servers.valkey import valkey
from services.local.stack_file import StackFile, load_or_create
from services.local.strays import sweep

S3_SELF_TEST = (sys.executable, "-m", "services.adapters.s3_storage")


def server_parts(
    folder: Path, stack: StackFile, *, s3_self_test: Sequence[str] = S3_SELF_TEST
) -> list[Part]:
    """Postgres, Valkey and SeaweedFS."""
    environment = inherited(server_environment(folder, stack))
    return [
        postgres(folder, stack),
        valkey(folder, stack),
        seaweedfs(folder, stack, environment=environment, self_test=s3_self_test),
    ]


def service_parts(*, api_url: str) -> list[Part]:
    """The migration, then our services."""
    return [
        _service("migrate", "services.adapters.postgres.migrate", WhenItEnds.CONTINUE),
        Part(
            name="api",
            command=(sys.executable, "-m", "services.api"),
            is_ready=lambda: _answers_ok(f"{api_url}/readyz"),
        ),
        _service("scheduler", "services.scheduler"),
        _service("worker", "services.worker"),
    ]


@contextmanager
def running_servers(
    folder: Path, *, s3_self_test: Sequence[str] = S3_SELF_TEST
) -> Iterator[Mapping[str, str]]:
    """Start the three servers in ``folder``, yield the environment that leads to them, stop them.

    From the main thread only, because the servers end with the thread that started them.
    """
    folder = create_folder(folder)
    with closing(lifeline.hold(folder)), ExitStack() as running:
        stack = load_or_create(folder)
        environment = server_environment(folder, stack)
        sweep(folder, stack.stack_id)
        running.callback(sweep, folder, stack.stack_id)
        for part in server_parts(folder, stack, s3_self_test=s3_self_test):
            process = bring_up(part, environment=inherited(environment), logs=folder / "logs")
            running.callback(take_down, part, process)
        yield environment


def create_folder(folder: Path) -> Path:
    """Make a data folder that only we can look into; its absolute path."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "logs").mkdir(exist_ok=True)
    return folder


def _service(name: str, module: str, when_it_ends: WhenItEnds = WhenItEnds.RESTART) -> Part:
    return Part(name=name, command=(sys.executable, "-m", module), when_it_ends=when_it_ends)


def _answers_ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5.0) as response:  # noqa: S310  # our own URL
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
