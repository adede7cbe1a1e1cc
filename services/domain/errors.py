"""Expected failures, each with a stable code and, where there is one, the field that caused it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FieldProblem:
    """What is wrong with one field; the pointer is a JSON pointer into the request body."""

    pointer: str
    message: str


class DomainError(Exception):
    """Base of what a caller can do something about."""

    code = "error"

    def __init__(self, message: str, problems: tuple[FieldProblem, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.problems = problems


class InvalidSpec(DomainError):
    """A field of a job or data set is not valid."""

    code = "invalid_spec"

    @classmethod
    def at(cls, pointer: str, message: str) -> "InvalidSpec":
        """Return the error for one field."""
        return cls.of((FieldProblem(pointer, message),))

    @classmethod
    def of(cls, problems: tuple[FieldProblem, ...]) -> "InvalidSpec":
        """Return the error for several fields, which says what is wrong with each."""
        return cls("; ".join(f"{item.pointer}: {item.message}" for item in problems), problems)


class NotFound(DomainError):
    """The thing asked for does not exist."""

    code = "not_found"


class Gone(DomainError):
    """The thing asked for existed and was deleted."""

    code = "gone"


class Conflict(DomainError):
    """The request does not fit the present state; the message names it."""

    code = "conflict"


class Unauthenticated(DomainError):
    """There is no key, or not a valid one."""

    code = "unauthenticated"


class Forbidden(DomainError):
    """The key is valid, and not for this."""

    code = "forbidden"


class RateLimited(DomainError):
    """Too many requests; `retry_after_seconds` says when to come back."""

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class IdempotencyKeyReused(DomainError):
    """The same idempotency key came before, with another request."""

    code = "idempotency_key_reused"


class LeaseLost(DomainError):
    """This attempt is not the live one any more: kill, exit, write nothing."""

    code = "lease_lost"
