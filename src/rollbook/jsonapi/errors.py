"""Refusals and their error objects: one table, one row for each reason to say no."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, NamedTuple

TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    408: "Request Timeout",
    409: "Conflict",
    412: "Precondition Failed",
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
    header: str | None = None


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
    DATA_NOT_ARRAY = Row(400, "Request body must contain a data array", "/data")
    DATA_NOT_IDENTIFIER = Row(400, "Request body must contain a resource identifier", "/data")
    ITEMS_OUT_OF_RANGE = Row(400, "Request body must contain 1 to {limit} {items}", "{where}")
    OPERATION_NOT_UNDERSTOOD = Row(400, "{why}", "")
    HEADER_NOT_USABLE = Row(400, "{name} must have 1 to 255 visible ASCII characters", header="{name}")
    PARAMETER_UNKNOWN = Row(400, "{name} is not a supported parameter", parameter="{name}")
    CURSOR_UNKNOWN = Row(400, "{name} is not a cursor of this collection and sort", parameter="{name}")
    CURSORS_BOTH = Row(400, "page[after] and page[before] cannot be combined", parameter="page[before]")
    INCLUDE_UNKNOWN = Row(400, "{name} is not a supported include", parameter="include")
    NOT_FOUND = Row(404, "The requested resource could not be found")
    RELATED_NOT_FOUND = Row(404, "The requested resource could not be found", "/data/relationships/{name}")
    PERMISSION_MISSING = Row(403, "You do not have permission to perform this action")
    TYPE_CONFLICT = Row(409, "Type must be {type}", "/data/type")
    ID_CONFLICT = Row(409, "Id does not match the URL", "/data/id")
    RETRY_RUNNING = Row(409, "A request with this Idempotency-Key is still running", header="Idempotency-Key")
    CHANGED_MEANWHILE = Row(412, "The resource has changed since it was read", header="If-Match")
    BLANK = Row(422, "{label} can't be blank", "/data/attributes/{name}")
    INVALID = Row(422, "{label} is invalid", "/data/attributes/{name}")
    TAKEN = Row(422, "{label} has already been taken", "/data/attributes/{name}")
    NOT_STORABLE = Row(422, "{label} contains characters that cannot be stored", "/data/attributes/{name}")
    MUST_EXIST = Row(422, "{label} must exist", "/data/relationships/{name}")
    NEEDS_CUSTOMER = Row(422, "{label} can't be set without a customer", "/data/attributes/{name}")
    NO_NUMBER_FREE = Row(422, "All of {name} are taken", "/data/attributes/handle")
    MERGED_WITH_ITSELF = Row(422, "A contact can't be merged with itself", "/data/id")
    META_INVALID = Row(422, "{label} is invalid", "/meta/{name}")
    RETRY_DIFFERS = Row(422, "Idempotency-Key was used for another request", header="Idempotency-Key")
    RATE_EXCEEDED = Row(429, "Rate limit exceeded")
    UNEXPECTED = Row(500, None)
    UNAVAILABLE = Row(503, "The service is temporarily unavailable")


DATA = "/data"


@dataclass(frozen=True, slots=True)
class Problem:
    """One refusal, with the words that its row needs.

    `place` orders the problems of one answer; `existing` names the resource that is in the way, as
    (type, id), where the caller may know it, and `existing_as` the member of `meta` that says so. `within`
    is where the resource object stands in a document of several.
    """

    refusal: Refusal
    name: str = ""
    words: tuple[tuple[str, str], ...] = ()
    place: int = 0
    existing: tuple[str, int] | None = None
    existing_as: str = "existing_id"
    within: str = DATA

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

    def within(self, where: str) -> "Refused":
        """Return the same refusal for a resource object at another place than `/data`."""
        moved = (replace(problem, within=where) for problem in self.problems)
        return Refused(*moved, retry_after=self.retry_after)


def refuse(refusal: Refusal, name: str = "", retry_after: int | None = None, **words: str) -> Refused:
    """Return the exception for one refusal, to be raised by the caller."""
    return Refused(Problem(refusal, name, tuple(words.items())), retry_after=retry_after)


def label(name: str) -> str:
    """Return the name of an attribute as people read it in an error: `Phone number`."""
    return name.replace("_", " ").capitalize()


def error_object(problem: Problem, api_url: str) -> dict[str, Any]:
    """Return the error object of a problem (JSON:API 1.1, "Error Objects").

    `api_url` is the public base URL with the prefix of the API, for links to an existing resource.
    """
    row = problem.refusal.value
    words = {"name": problem.name, "label": label(problem.name)}
    words.update(problem.words)
    source = None
    if row.pointer is not None:
        pointer = row.pointer.format_map(words)
        moved = problem.within != DATA and not pointer.startswith("/meta")
        source = {"pointer": problem.within + pointer[len(DATA) :] if moved else pointer}
    elif row.parameter is not None:
        source = {"parameter": row.parameter.format_map(words)}
    elif row.header is not None:
        source = {"header": row.header.format_map(words)}
    elif problem.within != DATA:
        source = {"pointer": problem.within}
    error: dict[str, Any] = {
        "status": str(row.status),
        "source": source,
        "title": TITLES[row.status],
        "detail": None if row.detail is None else row.detail.format_map(words),
    }
    if problem.existing is not None:
        type_name, existing_id = problem.existing
        error["links"] = {"about": f"{api_url}/{type_name}/{existing_id}"}
        error["meta"] = {problem.existing_as: str(existing_id)}
    return error


def error_document(problems: Iterable[Problem], api_url: str) -> dict[str, Any]:
    """Return the document that answers a refused request."""
    return {"errors": [error_object(problem, api_url) for problem in problems]}
