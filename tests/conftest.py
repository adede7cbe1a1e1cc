"""Real Postgres, Valkey and SeaweedFS, started once for all tests that need them."""

import os
import signal

import boto3
import pytest
from building import empty
from pydantic_settings import BaseSettings

from services import settings
from services.database.migrate import migrate
from services.database.session import Database
from services.local.stack import running_servers
from services.messaging.celery import DoorbellPublisher
from services.settings import BrokerSettings, DatabaseSettings, StorageSettings
from services.storage.s3 import S3Storage

# A shell lets what it starts in the background ignore Ctrl-C, and children take that over: tests
# send it to commands, and expect what happens at a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """Environment that leads to three running servers, the database at the newest revision."""
    with running_servers(tmp_path_factory.mktemp("servers")) as environment:
        migrate(DatabaseSettings(url=environment["NVAE_DATABASE_URL"]))
        yield environment


@pytest.fixture
async def database(servers):
    """An empty database at the newest revision."""
    database = Database(DatabaseSettings(url=servers["NVAE_DATABASE_URL"]))
    await empty(database)
    yield database
    await database.close()


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
    return boto3.client(
        "s3",
        endpoint_url=servers["NVAE_S3_ENDPOINT_URL"],
        aws_access_key_id=servers["NVAE_S3_ACCESS_KEY"],
        aws_secret_access_key=servers["NVAE_S3_SECRET_KEY"],
        region_name="us-east-1",
    )


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
        f"{kind.model_config['env_prefix']}{name}".upper(): field
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
