"""Real Postgres, Valkey and SeaweedFS, started once for all tests; tiers, and a budget of time."""

import os
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several processes share the cores

import hypothesis
import pytest
from building import empty
from pydantic_settings import BaseSettings
from shared_servers import migrated_servers, s3_client_of, share_of
from tiers import is_of_processes
from time_budget import excess_of

from services import settings
from services.database.session import Database
from services.messaging.celery import DoorbellPublisher
from services.settings import BrokerSettings, DatabaseSettings, StorageSettings
from services.storage.s3 import S3Storage

# A shell lets what it starts in the background ignore Ctrl-C, and children take that over: tests
# send it to commands, and expect what happens at a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, but for a run at length; how long one takes says nothing.
hypothesis.settings.register_profile("ci", max_examples=60, deadline=None, derandomize=True)
hypothesis.settings.register_profile("full", max_examples=500, deadline=None)
hypothesis.settings.load_profile("full" if os.environ.get("NVAE_FAULTS") == "full" else "ci")


def pytest_collection_modifyitems(items):
    """Put what starts and kills processes into a tier of its own, but for the smoke run."""
    for item in items:
        if is_of_processes(item.path) and not item.get_closest_marker("smoke"):
            item.add_marker(pytest.mark.processes)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Fail what exceeds its budget."""
    report = yield
    if call.when == "call" and report.passed and (excess := excess_of(item, call.duration)):
        report.outcome, report.longrepr = "failed", f"{item.nodeid} {excess}"
    return report


class SharedServers:
    """In the process that the user started: the servers that those of pytest-xdist share."""

    def __init__(self):
        self._running = ExitStack()
        self._environment = None
        self._num_shares = 0

    def pytest_configure_node(self, node):
        """Give a new process its share; the first one starts the servers."""
        if self._environment is None:
            folder = self._running.enter_context(tempfile.TemporaryDirectory(prefix="nvae-tests-"))
            self._environment = self._running.enter_context(
                migrated_servers(Path(folder, "servers"))
            )
        self._num_shares += 1
        node.workerinput["servers"] = share_of(self._environment, self._num_shares)

    def pytest_unconfigure(self):
        """Stop the servers."""
        self._running.close()


def pytest_configure(config):
    """Share the servers among the processes of pytest-xdist, where it makes some."""
    if getattr(config.option, "numprocesses", None):
        config.pluginmanager.register(SharedServers())


@pytest.fixture(scope="session")
def servers(request, tmp_path_factory):
    """Environment that leads to three running servers, the database at the newest revision."""
    shared = getattr(request.config, "workerinput", {}).get("servers")
    if shared is not None:
        yield shared
        return
    with migrated_servers(tmp_path_factory.mktemp("servers")) as environment:
        yield environment


@pytest.fixture(scope="session")
async def connected_database(servers):
    """The database, with whatever is in it; connections are kept from test to test."""
    database = Database(DatabaseSettings(url=servers["NVAE_DATABASE_URL"]))
    yield database
    await database.close()


@pytest.fixture
async def database(connected_database):
    """An empty database at the newest revision."""
    await empty(connected_database)
    return connected_database


@pytest.fixture(scope="session")
def storage(servers):
    """The bucket."""
    return S3Storage(
        StorageSettings(
            endpoint_url=servers["NVAE_S3_ENDPOINT_URL"],
            bucket=servers["NVAE_S3_BUCKET"],
            access_key=servers["NVAE_S3_ACCESS_KEY"],
            secret_key=servers["NVAE_S3_SECRET_KEY"],
        )
    )


@pytest.fixture(scope="session")
def s3_client(servers):
    """A client of the object store that knows nothing of our own code."""
    return s3_client_of(servers)


@pytest.fixture
def doorbell(servers):
    """Rings nodes through the broker."""
    publisher = DoorbellPublisher(BrokerSettings(url=servers["NVAE_BROKER_URL"]))
    yield publisher
    publisher.close()


@pytest.fixture(scope="session")
def setting_fields():
    """The field of every variable that the services read."""
    kinds = [kind for kind in vars(settings).values() if isinstance(kind, type)]
    return {
        str(field.validation_alias or f"{kind.model_config['env_prefix']}{name}".upper()): field
        for kind in kinds
        if issubclass(kind, BaseSettings) and kind is not BaseSettings
        for name, field in kind.model_fields.items()
    }


@pytest.fixture
def service_environment(servers, monkeypatch):
    """The servers' environment in this process, for what reads it itself."""
    for name, value in servers.items():
        monkeypatch.setitem(os.environ, name, value)
    return servers
