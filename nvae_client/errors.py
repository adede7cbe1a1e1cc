"""What can go wrong, each with what a program or a person needs to act on it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nvae_client.job import Job

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


class JobFailed(NvaeError):
    """A job ended otherwise than by succeeding; `job` is how it ended."""

    def __init__(self, job: "Job") -> None:
        super().__init__(f"job {job.id} {job.status} ({job.reason}): {job.message}")
        self.job = job
