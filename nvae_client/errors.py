"""What can go wrong, each with what a program or a person needs to act on it."""

import math
from collections.abc import Mapping
from typing import Any

import httpx

UNEXPECTED_ANSWER = "unexpected_answer"


class NvaeError(Exception):
    """Base of everything that the client raises on purpose."""


class ServiceError(NvaeError):
    """The service refused a request.

    Attributes:
        status: of HTTP.
        code: one of a closed list, such as `invalid_spec`; `unexpected_answer` if what answered
            does not speak the service's language.
        detail: one sentence for people.
        pointers: JSON pointers into the request body, each with what is wrong there.
        request_id: finds the request in the service's logs.
        retry_after_seconds: when to ask again, if the service said so.
    """

    def __init__(
        self,
        *,
        status: int,
        code: str,
        detail: str,
        pointers: Mapping[str, str] | None = None,
        request_id: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(f"{detail} ({status} {code})")
        self.status = status
        self.code = code
        self.detail = detail
        self.pointers = dict(pointers or {})
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds

    def to_json(self) -> dict[str, Any]:
        """Return the error as JSON."""
        errors = [{"pointer": key, "message": value} for key, value in self.pointers.items()]
        return {
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "errors": errors,
            "request_id": self.request_id,
        }


class ServiceUnreachable(NvaeError):
    """No answer came, however often the client tried in the time it had."""


class ChecksumMismatch(NvaeError):
    """A download is not what the service said it would be, the second time too."""


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
