"""The ceiling of reading a job: a bare route that does one SELECT by key through a session.

`NVAE_API_PORT=… python -m benchmarks.bare_api`; no keys, no log, no middleware, one column.
"""

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from sqlalchemy import select

from services.database.session import Database
from services.database.tables import Job
from services.local.state import HOST
from services.settings import ApiSettings, DatabaseSettings


def main() -> None:
    """Serve until SIGTERM."""
    app, database = FastAPI(), Database(DatabaseSettings())

    @app.get("/v1/jobs/{job_id}")
    async def read(job_id: str) -> JSONResponse:
        async with database.transaction() as session:
            found = await session.scalar(select(Job.id).where(Job.id == job_id))
        return JSONResponse({"id": found})

    uvicorn.run(app, host=HOST, port=ApiSettings().port, loop="uvloop", log_config=None)


if __name__ == "__main__":
    main()
