"""What is told when a request cannot be answered."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from http import HTTPStatus
from types import MappingProxyType
from typing import Annotated, Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from services.database.session import DatabaseUnavailable, RejectedValue
from services.domain.errors import (
    Conflict,
    DomainError,
    Forbidden,
    Gone,
    IdempotencyKeyReused,
    InvalidSpec,
    NotFound,
    RateLimited,
    Unauthenticated,
)
from services.storage.s3 import StorageUnavailable

Responses = dict[int | str, dict[str, Any]]
"""What an operation may answer, for its documentation."""
STATUS_OF = {
    InvalidSpec: HTTPStatus.UNPROCESSABLE_ENTITY,
    IdempotencyKeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    Gone: HTTPStatus.GONE,
}
log = structlog.get_logger()


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


CODE_OF = {
    HTTPStatus.BAD_REQUEST: ErrorCode.INVALID_REQUEST,
    HTTPStatus.NOT_FOUND: ErrorCode.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED: ErrorCode.METHOD_NOT_ALLOWED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ErrorCode.BODY_TOO_LARGE,
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: ErrorCode.RANGE_NOT_SATISFIABLE,
}


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


def problem_response(
    status: int,
    code: ErrorCode,
    detail: str,
    errors: Sequence[ErrorDetail] = (),
    *,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> JSONResponse:
    """Return the problem document as a response."""
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        request_id=structlog.contextvars.get_contextvars().get("request_id"),
        errors=list(errors),
    )
    return JSONResponse(
        problem.model_dump(mode="json"),
        status_code=status,
        media_type="application/problem+json",
        headers=headers,
    )


def add_error_handlers(app: FastAPI) -> None:
    """Turn expected failures into problem documents."""

    @app.exception_handler(DomainError)
    async def domain_error(_: Request, error: DomainError) -> JSONResponse:
        errors = [
            ErrorDetail(pointer=item.pointer, message=item.message) for item in error.problems
        ]
        headers: dict[str, str] = {}
        if isinstance(error, RateLimited):
            headers["Retry-After"] = str(error.retry_after_seconds)
        if isinstance(error, Unauthenticated):
            headers["WWW-Authenticate"] = "Bearer"
        code = ErrorCode(error.code)
        return problem_response(
            STATUS_OF[type(error)], code, error.message, errors, headers=headers
        )

    @app.exception_handler(RequestValidationError)
    async def invalid_request(_: Request, error: RequestValidationError) -> JSONResponse:
        errors = [
            ErrorDetail(pointer=json_pointer(_location(item), error.body), message=item["msg"])
            for item in error.errors()
        ]
        detail = "; ".join(f"{item.pointer or 'body'}: {item.message}" for item in errors)
        return problem_response(422, ErrorCode.INVALID_REQUEST, detail, errors)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        code = CODE_OF.get(HTTPStatus(error.status_code), ErrorCode.INVALID_REQUEST)
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(_methods_at(app, request))
        if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            headers["Connection"] = "close"  # the rest of the body is not waited for
        return problem_response(error.status_code, code, str(error.detail), headers=headers)

    @app.exception_handler(ClientDisconnect)
    async def client_left(_: Request, __: Exception) -> JSONResponse:
        log.info("request.abandoned")  # nobody reads the answer
        return problem_response(400, ErrorCode.INVALID_REQUEST, "the request was not sent whole")

    _add_store_handlers(app)


def _add_store_handlers(app: FastAPI) -> None:
    @app.exception_handler(RejectedValue)
    async def rejected_value(_: Request, __: Exception) -> JSONResponse:
        return problem_response(
            422, ErrorCode.INVALID_REQUEST, "a text holds a character that is not allowed"
        )

    @app.exception_handler(StorageUnavailable)
    async def storage_unavailable(_: Request, error: Exception) -> JSONResponse:
        log.warning("request.unavailable", error=str(error))
        detail = "the object store is away; try again soon"
        return problem_response(503, ErrorCode.UNAVAILABLE, detail, headers={"Retry-After": "2"})

    @app.exception_handler(DatabaseUnavailable)
    async def unavailable(_: Request, error: Exception) -> JSONResponse:
        log.warning("request.unavailable", error=str(error))
        detail = "the database is away; try again soon"
        return problem_response(503, ErrorCode.UNAVAILABLE, detail, headers={"Retry-After": "2"})

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        log.error("request.failed", exc_info=error)
        return problem_response(
            500, ErrorCode.INTERNAL, "this is a defect of the service, not of the request"
        )


def _methods_at(app: FastAPI, request: Request) -> list[str]:
    """Return the methods of all operations at a path; the router knows those of the first one."""
    methods: set[str] = set()
    for route in app.routes:
        if route.matches(request.scope)[0] != Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return sorted(methods)


def _location(error: Mapping[str, Any]) -> tuple[int | str, ...]:
    """Return where pydantic found an error; of a union without its tag, where the tag belongs."""
    location: tuple[int | str, ...] = tuple(error["loc"])
    if error["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        return (*location, error["ctx"]["discriminator"].strip("'"))
    return location


def json_pointer(location: Sequence[int | str], body: Any) -> str:
    """Return the pointer into the request body, without the tags that pydantic puts in between.

    For a field outside the body it names the place, such as `query/limit`.
    """
    if not location or location[0] != "body":
        return "/".join(str(part) for part in location)
    parts = []
    for part in location[1:]:
        if isinstance(body, dict) and part not in body and part in _tags(body):
            continue
        if isinstance(part, int) and not isinstance(body, list):
            break  # one was given where there may be several
        parts.append(str(part).replace("~", "~0").replace("/", "~1"))
        body = _step_into(body, part)
    return "".join(f"/{part}" for part in parts)


def _step_into(body: Any, part: int | str) -> Any:
    if isinstance(body, dict):
        return body.get(part)
    if isinstance(body, list) and isinstance(part, int) and part < len(body):
        return body[part]
    return None


def _tags(body: dict[str, Any]) -> list[Any]:
    """Return what a union is told apart by: its values stand in pydantic's locations."""
    return [body.get("kind"), body.get("analysis")]
