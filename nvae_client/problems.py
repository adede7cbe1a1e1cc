"""Refusals as errors: from problem documents (RFC 9457), or from whatever came instead."""

import math
from typing import Any

import httpx

from nvae_client.errors import UNEXPECTED_ANSWER, ServiceError


def raise_for_problem(response: httpx.Response) -> None:
    """Raise ServiceError if the answer is a refusal."""
    if response.is_error:
        raise ServiceError(
            status=response.status_code,
            retry_after_seconds=_retry_after(response),
            **_content(response),
        )


def _content(response: httpx.Response) -> dict[str, Any]:
    try:
        problem = response.json()
        pointers: dict[str, str] = {}
        for item in problem.get("errors", ()):
            known = pointers.get(item["pointer"])
            message = str(item["message"])
            pointers[item["pointer"]] = f"{known}; {message}" if known else message
        code, detail = str(problem["code"]), str(problem["detail"])
        request_id = problem.get("request_id") or response.headers.get("X-Request-Id")
    except (ValueError, TypeError, KeyError, AttributeError):
        phrase = f"{response.status_code} {response.reason_phrase}".strip()
        detail = f"{response.request.url.copy_with(query=None)} answered {phrase}"
        return {"code": UNEXPECTED_ANSWER, "detail": detail}
    return {"code": code, "detail": detail, "pointers": pointers, "request_id": request_id}


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds that the service asks for; a date is not worth a second clock."""
    try:
        seconds = float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
