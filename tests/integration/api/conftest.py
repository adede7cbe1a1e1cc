"""The API over real stores, called in process."""

import httpx
import pytest

from services.api.app import create_app
from services.api.dependencies import Stores
from services.api.watching import JobWatch


@pytest.fixture
async def api(database, storage, doorbell):
    """A client of the API; its errors come back as responses, as over the network."""
    stores = Stores(
        database=database,
        storage=storage,
        doorbell=doorbell,
        s3_prefixes=("s3://bucket/datasets/",),
        watch=JobWatch(database),
    )
    app = create_app(stores)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client
    await stores.watch.close()
