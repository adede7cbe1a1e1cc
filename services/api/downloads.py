"""Downloads: by a URL of the object store that is good for a while, or through the API."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import HTTPException, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from services.api.dependencies import Stores
from services.api.http_cache import NoSuchPart, Part, asked_part, matches
from services.database import artifacts
from services.database.tables import Job
from services.domain.states import JobStatus
from services.storage.s3 import ObjectBody

GRID_NAME = "grid.png"
MAX_PICTURE_BYTES = 64 * 1024 * 1024
PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Download:
    """A stored file that may be downloaded."""

    key: str
    size_bytes: int
    sha256: str
    content_type: str = "application/octet-stream"

    @property
    def file_name(self) -> str:
        """What it is called."""
        return self.key.rsplit("/", 1)[-1]


async def deliver(stores: Stores, request: Request, file: Download) -> Response:
    """Return a redirect to a stored file; where clients cannot reach the store, the file itself."""
    if stores.storage.is_public:
        url = stores.storage.presigned_url(file.key, file_name=file.file_name)
        return RedirectResponse(url, 307)
    etag = f'"{file.sha256}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "X-Content-Type-Options": "nosniff"}
    headers["Content-Disposition"] = f'attachment; filename="{file.file_name}"'
    if matches(request, etag):
        return Response(status_code=304, headers=headers)
    try:
        part = asked_part(request, size_bytes=file.size_bytes, etag=etag)
    except NoSuchPart:
        whole = {"Content-Range": f"bytes */{file.size_bytes}"}
        raise HTTPException(416, f"it has {file.size_bytes} bytes", whole) from None
    status = 200
    if part is not None:
        status = 206
        headers["Content-Range"] = f"bytes {part.first}-{part.last}/{file.size_bytes}"
    part = part or Part(0, file.size_bytes - 1)
    headers["Content-Length"] = str(part.last - part.first + 1)
    if file.size_bytes == 0:
        return Response(b"", 200, headers, media_type=file.content_type)
    body = await asyncio.to_thread(stores.storage.open_part, file.key, part.first, part.last)
    return StreamingResponse(_pieces(body), status, headers, media_type=file.content_type)


async def read_picture(stores: Stores, job: Job) -> bytes | None:
    """Return the grid that a sample job made, None if it made none or one for each temperature."""
    if job.kind != "sample" or job.status != JobStatus.SUCCEEDED:
        return None
    async with stores.database.transaction() as session:
        rows = await artifacts.list_of_job(session, job.id)
    grid = next((row for row in rows if row.name == GRID_NAME), None)
    if grid is None or grid.size_bytes > MAX_PICTURE_BYTES:
        return None
    return await asyncio.to_thread(stores.storage.read, grid.key)


async def _pieces(body: ObjectBody) -> AsyncIterator[bytes]:
    """Yield an object piece by piece: no more than one is held, however slow the client is."""
    try:
        while piece := await asyncio.to_thread(body.read, PIECE_BYTES):
            yield piece
    finally:
        body.close()
