"""Errors in words: what happened, where, and what to do about it."""

from collections.abc import Iterator

from nvae_client.errors import (
    UNEXPECTED_ANSWER,
    JobFailed,
    NvaeError,
    ServiceError,
    ServiceUnreachable,
)
from nvae_client.settings import KEY_VARIABLE, URL_VARIABLE

ADVICE = {
    UNEXPECTED_ANSWER: f"Is that an NVAE service? {URL_VARIABLE} or --url says where it is.",
    "unauthenticated": f"Put a key into {KEY_VARIABLE}. A local stack keeps its first one in the "
    "file api_key of its folder: "
    f"export {KEY_VARIABLE}=$(cat .local/stack/api_key)",
    "forbidden": "Ask who runs the service for a key with that scope: nvae keys create",
    "unavailable": "Try again soon.",
}


def explain(error: NvaeError, url: str) -> Iterator[str]:
    """Yield lines for a person; the first one says what happened."""
    if isinstance(error, ServiceUnreachable):
        yield f"no answer from {url}: {error}"
        yield f"Is the service up (make up)? {URL_VARIABLE} or --url says where it is."
    elif isinstance(error, JobFailed):
        job = error.job
        yield f"job {job.id} {job.status}" + (f" ({job.reason})" if job.reason else "")
        if job.message:
            yield job.message
        yield f"Its log: nvae logs {job.id}"
    elif isinstance(error, ServiceError):
        yield from _explain_refusal(error)
    else:
        yield str(error)


def _explain_refusal(error: ServiceError) -> Iterator[str]:
    if error.pointers:
        yield "the service refused this"
        for pointer, message in error.pointers.items():
            yield f"{pointer or '/'}: {message}"
    else:
        yield error.detail
    if error.code == "rate_limited" and error.retry_after_seconds is not None:
        yield f"Try again in {error.retry_after_seconds:.0f} s."
    if advice := ADVICE.get(error.code):
        yield advice
    if error.status >= 500 and error.request_id:
        yield f"request {error.request_id}"
