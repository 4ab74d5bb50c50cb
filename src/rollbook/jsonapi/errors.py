"""Refusals and their error objects: one table, one row for each reason to say no."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Row(NamedTuple):
    """How a refusal is answered; `{…}` in the texts is filled from the problem's words."""

    status: int
    detail: str | None
    pointer: str | None = None
    parameter: str | None = None


class Refusal(Enum):
    """Every reason to refuse a request, with its row."""

    TOKEN_MISSING = Row(401, "Access token is missing")
    TOKEN_INVALID = Row(401, "Access token is invalid or has expired")
    BODY_TOO_LARGE = Row(413, "Request body is larger than {limit} bytes")
    BODY_TOO_SLOW = Row(408, "Request body did not arrive in time")
    HEAD_TOO_SLOW = Row(408, "Request head did not arrive in time")
    HEAD_TOO_LARGE = Row(431, "Request head is larger than {limit} bytes")
    REQUEST_MALFORMED = Row(400, "Request is not valid HTTP")
    BODY_NOT_OBJECT = Row(400, "Request body must be a JSON object", "/data")
    DATA_NOT_OBJECT = Row(400, "Request body must contain a data object", "/data")
    ATTRIBUTES_NOT_OBJECT = Row(400, "Attributes must be an object", "/data/attributes")
    RELATIONSHIP_REQUIRED = Row(400, "{label} relationship is required", "/data/relationships/{name}")
    INCLUDE_UNKNOWN = Row(400, "{name} is not a supported include", parameter="include")
    NOT_FOUND = Row(404, "The requested resource could not be found")
    RELATED_NOT_FOUND = Row(404, "The requested resource could not be found", "/data/relationships/{name}")
    PERMISSION_MISSING = Row(403, "You do not have permission to perform this action")
    TYPE_CONFLICT = Row(409, "Type must be {type}", "/data/type")
    BLANK = Row(422, "{label} can't be blank", "/data/attributes/{name}")
    INVALID = Row(422, "{label} is invalid", "/data/attributes/{name}")
    TAKEN = Row(422, "{label} has already been taken", "/data/attributes/{name}")
    NOT_STORABLE = Row(422, "{label} contains characters that cannot be stored", "/data/attributes/{name}")
    RATE_EXCEEDED = Row(429, "Rate limit exceeded")
    UNEXPECTED = Row(500, None)
    UNAVAILABLE = Row(503, "The service is temporarily unavailable")


@dataclass(frozen=True, slots=True)
class Problem:
    """One refusal, with the words that its row needs.

    `place` orders the problems of one answer; `existing` names the resource that is in the way, as
    (type, id), where the caller may know it.
    """

    refusal: Refusal
    name: str = ""
    words: tuple[tuple[str, str], ...] = ()
    place: int = 0
    existing: tuple[str, int] | None = None

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return self.refusal.value.status


class Refused(Exception):
    """A request is refused, for one or several reasons of one stage."""

    def __init__(self, *problems: Problem, retry_after: int | None = None) -> None:
        super().__init__(", ".join(problem.refusal.name for problem in problems))
        self.problems = problems
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return self.problems[0].status


def refuse(refusal: Refusal, name: str = "", retry_after: int | None = None, **words: str) -> Refused:
    """Return the exception for one refusal, to be raised by the caller."""
    return Refused(Problem(refusal, name, tuple(words.items())), retry_after=retry_after)


def error_object(problem: Problem, api_url: str) -> dict[str, Any]:
    """Return the error object of a problem (JSON:API 1.1, "Error Objects").

    `api_url` is the public base URL with the prefix of the API, for links to an existing resource.
    """
    row = problem.refusal.value
    words = {"name": problem.name, "label": problem.name.replace("_", " ").capitalize()}
    words.update(problem.words)
    source = None
    if row.pointer is not None:
        source = {"pointer": row.pointer.format_map(words)}
    elif row.parameter is not None:
        source = {"parameter": row.parameter.format_map(words)}
    error: dict[str, Any] = {
        "status": str(row.status),
        "source": source,
        "title": TITLES[row.status],
        "detail": None if row.detail is None else row.detail.format_map(words),
    }
    if problem.existing is not None:
        type_name, existing_id = problem.existing
        error["links"] = {"about": f"{api_url}/{type_name}/{existing_id}"}
        error["meta"] = {"existing_id": str(existing_id)}
    return error


def error_document(problems: Iterable[Problem], api_url: str) -> dict[str, Any]:
    """Return the document that answers a refused request."""
    return {"errors": [error_object(problem, api_url) for problem in problems]}
