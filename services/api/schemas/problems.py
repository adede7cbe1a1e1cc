"""What is told when a request cannot be answered."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, Field

Responses = dict[int | str, dict[str, Any]]
"""What an operation may answer, for its documentation."""


class ErrorCode(StrEnum):
    """What went wrong, for programs; the list is closed."""

    INVALID_REQUEST = "invalid_request"  # not what this operation takes
    INVALID_SPEC = "invalid_spec"  # well formed, and cannot be
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"  # with the present state
    GONE = "gone"
    BODY_TOO_LARGE = "body_too_large"
    RANGE_NOT_SATISFIABLE = "range_not_satisfiable"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    RATE_LIMITED = "rate_limited"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"


class ErrorDetail(BaseModel):
    """What is wrong with one field."""

    pointer: Annotated[str, Field(examples=["/overrides/optimization.epochs"])]
    message: str


class Problem(BaseModel):
    """An error, as a problem document of RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: ErrorCode
    request_id: str | None = None
    errors: list[ErrorDetail] = []
