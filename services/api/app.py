"""The FastAPI application: its routes, and what is around every request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.api.dependencies import Stores
from services.api.error_handlers import add_error_handlers
from services.api.request_context import RequestContext
from services.api.surface import make_surface


def create_app(stores: Stores) -> FastAPI:
    """Return the application over these stores."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stores.rates.start()
        yield
        await stores.rates.close()
        await stores.watch.close()
        stores.doorbell.close()
        await stores.database.close()

    app = make_surface(lifespan)
    app.state.stores = stores
    app.add_middleware(RequestContext, metrics=stores.metrics)
    add_error_handlers(app)
    return app
