"""Proves the error object of each refusal: status, title, detail, source, and the resource in the way."""

import pytest
from jsonapi.worlds import API_URL

from rollbook.jsonapi.errors import Problem, Refusal, Refused, error_document, error_object, refuse

pytestmark = pytest.mark.sqlite

POINTER = "/data/attributes/home_port"
# Each refusal with a problem's name and words, and the status, title, detail and source that they make.
EXPECTED = [
    (Refusal.TOKEN_MISSING, "", {}, 401, "Unauthorized", "Access token is missing", None),
    (Refusal.TOKEN_INVALID, "", {}, 401, "Unauthorized", "Access token is invalid or has expired", None),
    (Refusal.BODY_TOO_LARGE, "", {"limit": "9"}, 413, "Content Too Large", "Request body is larger than 9 bytes", None),
    (Refusal.BODY_TOO_SLOW, "", {}, 408, "Request Timeout", "Request body did not arrive in time", None),
    (Refusal.HEAD_TOO_SLOW, "", {}, 408, "Request Timeout", "Request head did not arrive in time", None),
    (Refusal.HEAD_TOO_LARGE, "", {"limit": "9"}, 431, "Request Header Fields Too Large", "Request head is larger than 9 bytes", None),
    (Refusal.REQUEST_MALFORMED, "", {}, 400, "Bad Request", "Request is not valid HTTP", None),
    (Refusal.BODY_NOT_OBJECT, "", {}, 400, "Bad Request", "Request body must be a JSON object", {"pointer": "/data"}),
    (Refusal.DATA_NOT_OBJECT, "", {}, 400, "Bad Request", "Request body must contain a data object", {"pointer": "/data"}),
    (Refusal.ATTRIBUTES_NOT_OBJECT, "", {}, 400, "Bad Request", "Attributes must be an object", {"pointer": "/data/attributes"}),
    (Refusal.RELATIONSHIP_REQUIRED, "harbour", {}, 400, "Bad Request", "Harbour relationship is required", {"pointer": "/data/relationships/harbour"}),
    (Refusal.DATA_NOT_ARRAY, "", {}, 400, "Bad Request", "Request body must contain a data array", {"pointer": "/data"}),
    (Refusal.DATA_NOT_IDENTIFIER, "", {}, 400, "Bad Request", "Request body must contain a resource identifier", {"pointer": "/data"}),
    (Refusal.ITEMS_OUT_OF_RANGE, "", {"limit": "9", "items": "boats", "where": "/data"}, 400, "Bad Request", "Request body must contain 1 to 9 boats", {"pointer": "/data"}),
    (Refusal.OPERATION_NOT_UNDERSTOOD, "", {"why": "A boat cannot fly"}, 400, "Bad Request", "A boat cannot fly", {"pointer": ""}),
    (Refusal.HEADER_NOT_USABLE, "Anchor", {}, 400, "Bad Request", "Anchor must have 1 to 255 visible ASCII characters", {"header": "Anchor"}),
    (Refusal.PARAMETER_UNKNOWN, "anchor", {}, 400, "Bad Request", "anchor is not a supported parameter", {"parameter": "anchor"}),
    (Refusal.CURSOR_UNKNOWN, "page[after]", {}, 400, "Bad Request", "page[after] is not a cursor of this collection and sort", {"parameter": "page[after]"}),
    (Refusal.CURSORS_BOTH, "", {}, 400, "Bad Request", "page[after] and page[before] cannot be combined", {"parameter": "page[before]"}),
    (Refusal.ID_CONFLICT, "", {}, 409, "Conflict", "Id does not match the URL", {"pointer": "/data/id"}),
    (Refusal.RETRY_RUNNING, "", {}, 409, "Conflict", "A request with this Idempotency-Key is still running", {"header": "Idempotency-Key"}),
    (Refusal.CHANGED_MEANWHILE, "", {}, 412, "Precondition Failed", "The resource has changed since it was read", {"header": "If-Match"}),
    (Refusal.MUST_EXIST, "harbour", {}, 422, "Unprocessable Entity", "Harbour must exist", {"pointer": "/data/relationships/harbour"}),
    (Refusal.NEEDS_CUSTOMER, "home_port", {}, 422, "Unprocessable Entity", "Home port can't be set without a customer", {"pointer": POINTER}),
    (Refusal.NO_NUMBER_FREE, "boat_1 to boat_9", {}, 422, "Unprocessable Entity", "All of boat_1 to boat_9 are taken", {"pointer": "/data/attributes/handle"}),
    (Refusal.MERGED_WITH_ITSELF, "", {}, 422, "Unprocessable Entity", "A contact can't be merged with itself", {"pointer": "/data/id"}),
    (Refusal.META_INVALID, "anchor", {}, 422, "Unprocessable Entity", "Anchor is invalid", {"pointer": "/meta/anchor"}),
    (Refusal.RETRY_DIFFERS, "", {}, 422, "Unprocessable Entity", "Idempotency-Key was used for another request", {"header": "Idempotency-Key"}),
    (Refusal.INCLUDE_UNKNOWN, "anchor", {}, 400, "Bad Request", "anchor is not a supported include", {"parameter": "include"}),
    (Refusal.NOT_FOUND, "", {}, 404, "Not Found", "The requested resource could not be found", None),
    (Refusal.RELATED_NOT_FOUND, "harbour", {}, 404, "Not Found", "The requested resource could not be found", {"pointer": "/data/relationships/harbour"}),
    (Refusal.PERMISSION_MISSING, "", {}, 403, "Forbidden", "You do not have permission to perform this action", None),
    (Refusal.TYPE_CONFLICT, "", {"type": "boats"}, 409, "Conflict", "Type must be boats", {"pointer": "/data/type"}),
    (Refusal.BLANK, "home_port", {}, 422, "Unprocessable Entity", "Home port can't be blank", {"pointer": POINTER}),
    (Refusal.INVALID, "home_port", {}, 422, "Unprocessable Entity", "Home port is invalid", {"pointer": POINTER}),
    (Refusal.TAKEN, "home_port", {}, 422, "Unprocessable Entity", "Home port has already been taken", {"pointer": POINTER}),
    (Refusal.NOT_STORABLE, "home_port", {}, 422, "Unprocessable Entity", "Home port contains characters that cannot be stored", {"pointer": POINTER}),
    (Refusal.RATE_EXCEEDED, "", {}, 429, "Too Many Requests", "Rate limit exceeded", None),
    (Refusal.UNEXPECTED, "", {}, 500, "Internal Server Error", None, None),
    (Refusal.UNAVAILABLE, "", {}, 503, "Service Unavailable", "The service is temporarily unavailable", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("refusal", "name", "words", "status", "title", "detail", "source"),
    EXPECTED,
    ids=[row[0].name for row in EXPECTED],
)
def test_a_refusal_is_one_error_object_of_four_members(
    refusal: Refusal,
    name: str,
    words: dict[str, str],
    status: int,
    title: str,
    detail: str | None,
    source: dict[str, str] | None,
) -> None:
    refused = Refused(Problem(refusal, name, tuple(words.items())))
    assert refused.status == status
    assert error_document(refused.problems, API_URL) == {
        "errors": [{"status": str(status), "source": source, "title": title, "detail": detail}]
    }


def test_no_refusal_is_left_out_of_the_table_above() -> None:
    assert {row[0] for row in EXPECTED} == set(Refusal)
    assert len({refusal.value for refusal in Refusal}) == len(Refusal)


def test_a_resource_in_the_way_is_named_and_linked() -> None:
    error = error_object(Problem(Refusal.TAKEN, "name", existing=("boats", 17)), API_URL)
    assert error["links"] == {"about": f"{API_URL}/boats/17"}
    assert error["meta"] == {"existing_id": "17"}


def test_several_problems_are_answered_in_their_order_with_the_status_of_the_first() -> None:
    refused = Refused(Problem(Refusal.BLANK, "name"), Problem(Refusal.INVALID, "insured"))
    assert refused.status == 422
    assert [error["detail"] for error in error_document(refused.problems, API_URL)["errors"]] == [
        "Name can't be blank",
        "Insured is invalid",
    ]


@pytest.mark.parametrize("name", ["{label}", "{0}", "{", "a.b", "%s"])
def test_a_name_that_a_client_sent_is_quoted_as_it_is(name: str) -> None:
    error = error_object(Problem(Refusal.INCLUDE_UNKNOWN, name), API_URL)
    assert error["detail"] == f"{name} is not a supported include"
    assert error["source"] == {"parameter": "include"}


def test_the_text_of_the_exception_names_reasons_alone() -> None:
    refused = Refused(Problem(Refusal.INCLUDE_UNKNOWN, "ines@example.test"), Problem(Refusal.TAKEN, "email"))
    assert str(refused) == "INCLUDE_UNKNOWN, TAKEN"


def test_only_some_refusals_say_when_to_come_again() -> None:
    assert refuse(Refusal.RATE_EXCEEDED, retry_after=7).retry_after == 7
    assert refuse(Refusal.NOT_FOUND).retry_after is None
