"""Downloads go to the object store directly, by a URL that is good for a while; pictures do not."""

import asyncio

from fastapi.responses import RedirectResponse

from services.adapters.postgres import results
from services.adapters.postgres.tables import Job
from services.api.dependencies import Stores
from services.domain.statuses import JobStatus

MAX_PICTURE_BYTES = 64 * 1024 * 1024


def redirect_to(stores: Stores, key: str) -> RedirectResponse:
    """Return the redirect to a stored file."""
    file_name = key.rsplit("/", 1)[-1]
    return RedirectResponse(stores.storage.presigned_url(key, file_name=file_name), 307)


async def read_picture(stores: Stores, job: Job) -> bytes | None:
    """Return the picture that a sample job made, None if it made none or several."""
    if job.kind != "sample" or job.status != JobStatus.SUCCEEDED:
        return None
    async with stores.database.transaction() as session:
        artifacts = await results.list_artifacts(session, job.id)
    pictures = [artifact for artifact in artifacts if artifact.content_type == "image/png"]
    if len(pictures) != 1 or pictures[0].size_bytes > MAX_PICTURE_BYTES:
        return None
    return await asyncio.to_thread(stores.storage.read, pictures[0].key)
