"""Every error leaves as a problem document (RFC 9457) with a code and the field's pointer."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from services.adapters.postgres.database import DatabaseUnavailable, RejectedValue
from services.api.schemas import ErrorDetail, Problem
from services.domain.errors import Conflict, DomainError, Gone, InvalidSpec, NotFound

STATUS_OF = {
    InvalidSpec: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    Gone: HTTPStatus.GONE,
}

log = structlog.get_logger()


def problem_response(
    status: int, code: str, detail: str, errors: Sequence[ErrorDetail] = (), **headers: str
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
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def add_error_handlers(app: FastAPI) -> None:
    """Turn expected failures into problem documents."""

    @app.exception_handler(DomainError)
    async def domain_error(_: Request, error: DomainError) -> JSONResponse:
        errors = [
            ErrorDetail(pointer=item.pointer, message=item.message) for item in error.problems
        ]
        return problem_response(STATUS_OF[type(error)], error.code, error.message, errors)

    @app.exception_handler(RequestValidationError)
    async def invalid_request(_: Request, error: RequestValidationError) -> JSONResponse:
        errors = [
            ErrorDetail(pointer=json_pointer(_location(item), error.body), message=item["msg"])
            for item in error.errors()
        ]
        detail = "; ".join(f"{item.pointer or 'body'}: {item.message}" for item in errors)
        return problem_response(422, "invalid_request", detail, errors)

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        code = HTTPStatus(error.status_code).name.lower()
        return problem_response(error.status_code, code, str(error.detail))

    @app.exception_handler(RejectedValue)
    async def rejected_value(_: Request, __: Exception) -> JSONResponse:
        return problem_response(
            422, "invalid_request", "a text holds a character that is not allowed"
        )

    @app.exception_handler(DatabaseUnavailable)
    async def unavailable(_: Request, error: Exception) -> JSONResponse:
        log.warning("request.unavailable", error=str(error))
        detail = "the database is away; try again soon"
        return problem_response(503, "unavailable", detail, Retry_After="2")

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        log.error("request.failed", exc_info=error)
        return problem_response(
            500, "internal", "this is a defect of the service, not of the request"
        )


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
