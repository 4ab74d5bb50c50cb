"""Proves that what goes beyond the original is marked in OpenAPI, and told in docs/extensions.md."""

from pathlib import Path
from typing import Any

import pytest
from contract import proofs

from rollbook.api.description import describe_api
from rollbook.register.callers import PERMISSIONS

PAGE = (Path(__file__).parents[2] / "docs" / "extensions.md").read_text()
OPERATIONS: dict[str, Any] = {
    f"{method.upper()} {path}": operation
    for path, item in describe_api("http://crm.example.test")["paths"].items()
    for method, operation in item.items()
}
HEADERS = {"Idempotency-Key", "If-Match", "If-None-Match"}
CURSORS = {"page[after]", "page[before]"}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_call_is_marked_if_and_only_if_the_original_does_not_have_it(operation: str) -> None:
    described = OPERATIONS[operation]
    known = operation in proofs.OPERATIONS
    # The contract has the call, and says that the original has not.
    if operation == "POST /v1/contact_tags":
        known = False
    if operation in {**proofs.OPERATIONS, **proofs.EXTENSIONS}:
        assert described.get("x-extension", False) is not known
    for parameter in described.get("parameters", []):
        if parameter["name"] in HEADERS | CURSORS:
            assert parameter["x-extension"] is True, parameter["name"]


def test_every_write_takes_the_header_for_retries_and_every_collection_cursors() -> None:
    for operation in {**proofs.OPERATIONS, **proofs.EXTENSIONS}:
        if "/oauth" in operation:
            continue
        method, _, path = operation.partition(" ")
        names = {each["name"] for each in OPERATIONS[operation].get("parameters", [])}
        assert ("Idempotency-Key" in names) is (method != "GET"), operation
        collection = method == "GET" and (path.count("/") == 2 or path.endswith("consent_events"))
        if path not in ("/v1/me", "/v1/version"):
            assert (names >= CURSORS) is collection, operation


@pytest.mark.parametrize("operation", proofs.EXTENSIONS)
def test_a_call_beyond_the_original_is_told_on_the_page_of_extensions(operation: str) -> None:
    method, _, path = operation.partition(" ")
    collection = path.removesuffix("/{id}")
    assert f"{method} {path}" in PAGE or (collection == "/v1/audit_events" and f"GET {collection}" in PAGE)


def test_every_permission_is_told() -> None:
    told = [name for name in PERMISSIONS if name in PAGE or name.partition(":")[2] in PAGE]
    assert set(PERMISSIONS) - set(told) <= {
        "view:form_submissions", "view:purchases", "view:transactions", "view:orders",
    }  # fmt: skip
