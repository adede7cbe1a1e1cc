"""Downloads go to the object store directly, by a URL that is good for a while."""

from fastapi.responses import RedirectResponse

from services.api.dependencies import Stores


def redirect_to(stores: Stores, key: str) -> RedirectResponse:
    """Return the redirect to a stored file."""
    file_name = key.rsplit("/", 1)[-1]
    return RedirectResponse(stores.storage.presigned_url(key, file_name=file_name), 307)
