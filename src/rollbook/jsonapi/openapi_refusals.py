"""Describes refusals in OpenAPI 3.1: the schema of their documents, and the responses that carry them."""

from collections.abc import Iterable
from typing import Any

from rollbook.jsonapi.errors import TITLES, Problem, Refusal, error_object
from rollbook.jsonapi.openapi import LINK, MEDIA_TYPE, STRING, reference

_SOURCE = {
    "type": ["object", "null"],
    "description": "The member of the document, the parameter or the header that is meant.",
    "properties": {"pointer": STRING, "parameter": STRING, "header": STRING},
}
_META = {
    "existing_id": STRING | {"description": "The resource that is in the way."},
    "merged_into": STRING | {"description": "The contact that this one was merged into."},
}
SCHEMAS: dict[str, Any] = {
    "error": {
        "type": "object",
        "required": ["status", "source", "title", "detail"],
        "properties": {
            "status": STRING,
            "source": _SOURCE,
            "title": STRING,
            "detail": {"type": ["string", "null"]},
            "links": {"type": "object", "properties": {"about": LINK}},
            "meta": {"type": "object", "properties": _META},
        },
    },
    "errors": {
        "type": "object",
        "required": ["errors"],
        "properties": {"errors": {"type": "array", "minItems": 1, "items": reference("error")}},
    },
}

COMMON_PROBLEMS = (
    Problem(Refusal.TOKEN_MISSING),
    Problem(Refusal.TOKEN_INVALID),
    Problem(Refusal.RATE_EXCEEDED),
    Problem(Refusal.UNEXPECTED),
    Problem(Refusal.UNAVAILABLE),
)

_CHALLENGE = {"description": "How to get in (RFC 6750).", "required": True, "schema": STRING}
_RETRY_AFTER = {
    "description": "Seconds to wait.",
    "required": True,
    "schema": {"type": "integer", "minimum": 1},
}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": _CHALLENGE},
    429: {"Retry-After": _RETRY_AFTER},
    503: {"Retry-After": _RETRY_AFTER},
}


def error_responses(problems: Iterable[Problem], api_url: str) -> dict[str, Any]:
    """Return a response for each status of the problems, with an example for each problem."""
    responses: dict[str, Any] = {}
    for problem in sorted(problems, key=lambda problem: problem.status):
        known = responses.setdefault(str(problem.status), _response(problem.status))
        example = {"value": {"errors": [error_object(problem, api_url)]}}
        known["content"][MEDIA_TYPE]["examples"][_example_name(problem)] = example
    return responses


def with_problems(responses: dict[str, Any], problems: Iterable[Problem], api_url: str) -> dict[str, Any]:
    """Return responses by status, with the examples of problems beside those that are there."""
    found = dict(responses)
    for status, response in error_responses(problems, api_url).items():
        known = found.setdefault(status, response)
        if known is not response:
            content = known["content"].setdefault(MEDIA_TYPE, response["content"][MEDIA_TYPE])
            content["examples"] |= response["content"][MEDIA_TYPE]["examples"]
    return dict(sorted(found.items()))


def _response(status: int) -> dict[str, Any]:
    response: dict[str, Any] = {"description": TITLES[status]}
    if status in _HEADERS:
        response["headers"] = _HEADERS[status]
    return response | {"content": {MEDIA_TYPE: {"schema": reference("errors"), "examples": {}}}}


def _example_name(problem: Problem) -> str:
    name = problem.refusal.name.lower()
    return f"{name}_{problem.name}" if problem.name else name
