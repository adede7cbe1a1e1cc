"""The API over real stores, called in process."""

from contextlib import asynccontextmanager

import httpx
import pytest
from building import add_key

from services.api.app import create_app
from services.api.dependencies import Stores
from services.messaging.rate_limits import RateLimits
from services.settings import BrokerSettings


@pytest.fixture
def make_stores(database, storage, doorbell, servers):
    """Return a function that makes what the API works with."""

    def make(*, requests_per_minute=100_000, storage=storage):
        broker = BrokerSettings(url=servers["NVAE_BROKER_URL"])
        # No minute ends in a test.
        rates = RateLimits(broker, per_minute=requests_per_minute, now=lambda: 60_000_000.0)
        prefixes = ("s3://bucket/datasets/",)
        return Stores.make(database, storage, doorbell, rates, s3_prefixes=prefixes)

    return make


@pytest.fixture
def connected(make_stores):
    """Return a function that connects to an API in this process with a key, or without one."""

    @asynccontextmanager
    async def connect(key=None, **options):
        stores = make_stores(**options)
        # Errors come back as responses, as over the network.
        transport = httpx.ASGITransport(create_app(stores), raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://test", headers=headers
        ) as client:
            yield client
        await stores.watch.close()

    return connect


@pytest.fixture
async def api(connected, database):
    """A client of the API, whose key is good for everything in its project."""
    async with connected(await add_key(database)) as client:
        yield client
