"""The OpenAPI description of what contacts have beyond a resource, and of atomic operations."""

from collections.abc import Callable
from typing import Any

from rollbook.jsonapi import openapi as describe
from rollbook.jsonapi.errors import Problem, Refusal
from rollbook.register import consent, contacts
from rollbook.register.beginnings import FIRST_SITE

Operation = dict[str, Any]

CONTACT = contacts.RESOURCE.type
RELATED_IDS = {"site": str(FIRST_SITE)}
TAGS = {"data": [{"type": "contact_tags", "id": "2150000042"}]}
OTHER = {"data": {"type": CONTACT.name, "id": "2301000457"}}
ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": describe.IDENTIFIER_ID,
    "example": CONTACT.example_id,
}
NOT_FOUND = Problem(Refusal.NOT_FOUND)
UPSERT_META = {
    "type": "object",
    "properties": {
        "match": {"enum": ["email", "external_user_id"], "default": "email"},
        "resubscribe": {"type": "boolean", "default": False},
        "consent": {"type": "object"},
    },
}
BATCH_META = {
    "type": "object",
    "properties": {
        "on_duplicate": {"enum": ["refuse", "skip", "update"], "default": "refuse"},
        "resubscribe": {"type": "boolean", "default": False},
        "consent": {"type": "object"},
    },
}
OPERATION = {
    "type": "object",
    "required": ["op"],
    "properties": {
        "op": {"enum": ["add", "update", "remove"]},
        "ref": {"type": "object"},
        "href": describe.STRING,
        "data": {"type": ["object", "array", "null"]},
    },
}
_RESULT = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": describe.STRING,
        "id": describe.STRING,
        "skipped": {"type": "boolean"},
        "errors": {"type": "array"},
    },
}

PEOPLE_SCHEMAS: dict[str, Any] = {
    "nothing": {"type": "object", "required": ["data"], "properties": {"data": {"type": "object"}}},
    "tags_linkage": describe.linkage_schema("contact_tags"),
    "contacts_identifier": {
        "type": "object",
        "required": ["data"],
        "properties": {"data": describe.identifier_schema(CONTACT.name)},
    },
    "contacts_upsert": {
        "type": "object",
        "allOf": [describe.reference("contacts_create"), {"properties": {"meta": UPSERT_META}}],
    },
    "contacts_batch": {
        "type": "object",
        "required": ["data"],
        "properties": {
            "data": {"type": "array", "minItems": 1, "maxItems": 1_000, "items": {"type": "object"}},
            "meta": BATCH_META,
        },
    },
    "contacts_batch_results": {
        "type": "object",
        "required": ["data", "meta"],
        "properties": {
            "data": {"type": "array", "items": describe.reference("contacts_resource")},
            "meta": {
                "type": "object",
                "required": ["created", "updated", "skipped", "refused", "results"],
                "properties": {"results": {"type": "array", "items": _RESULT}},
            },
        },
    },
    "operations": {
        "type": "object",
        "required": ["atomic:operations"],
        "properties": {
            "atomic:operations": {"type": "array", "minItems": 1, "maxItems": 100, "items": OPERATION}
        },
    },
    "operation_results": {
        "type": "object",
        "required": ["atomic:results"],
        "properties": {"atomic:results": {"type": "array", "items": {"type": "object"}}},
    },
}


def _contact(description: str, api_url: str) -> dict[str, Any]:
    url = f"{api_url}/{CONTACT.name}/{CONTACT.example_id}"
    example = {
        "data": describe.resource_example(CONTACT, RELATED_IDS),
        "links": {"self": url, "current": url},
    }
    return {"description": description, "content": describe.content(f"{CONTACT.name}_document", example)}


def _operation(
    summary: str,
    operation_id: str,
    responses: dict[str, Any],
    problems: list[Problem],
    api_url: str,
    *,
    body: tuple[str, Any] | None = None,
    with_id: bool = True,
    extension: bool = True,
) -> Operation:
    described: Operation = {"summary": summary, "tags": [CONTACT.name], "operationId": operation_id}
    described["parameters"] = [ID] if with_id else []
    if body is not None:
        described["requestBody"] = {"required": True, "content": describe.content(*body)}
    described["responses"] = responses | describe.error_responses(problems, api_url)
    return described | (describe.EXTENSION if extension else {})


def _tags(verb: str, summary: str) -> Callable[[str], Operation]:
    def make(api_url: str) -> Operation:
        url = f"{api_url}/{CONTACT.name}/{CONTACT.example_id}/relationships/tags"
        content = describe.content("tags_linkage", TAGS | {"links": {"self": url}})
        listed = {"200": {"description": "All tags of the contact.", "content": content}}
        shape = [] if verb == "show" else [Problem(Refusal.BODY_NOT_OBJECT), Problem(Refusal.DATA_NOT_ARRAY)]
        body = None if verb == "show" else ("tags_linkage", TAGS)
        return _operation(
            summary,
            f"{verb}_tags_of_contact",
            listed,
            [NOT_FOUND, *shape],
            api_url,
            body=body,
            extension=False,
        )

    return make


def _upsert(api_url: str) -> Operation:
    responses = {
        "201": _contact("There was none, and it was created.", api_url),
        "200": _contact("It was there, and is changed as asked.", api_url),
    }
    problems = [
        Problem(Refusal.BODY_NOT_OBJECT),
        Problem(Refusal.RELATIONSHIP_REQUIRED, "site"),
        Problem(Refusal.RELATED_NOT_FOUND, "site"),
        Problem(Refusal.TYPE_CONFLICT, words=(("type", CONTACT.name),)),
        Problem(Refusal.BLANK, "email"),
        Problem(Refusal.META_INVALID, "match"),
    ]
    body = describe.create_example(CONTACT, RELATED_IDS)
    return _operation(
        "Create a contact, or change the one with this e-mail",
        "upsert_contact",
        responses,
        problems,
        api_url,
        body=("contacts_upsert", body),
        with_id=False,
    )


def _batch(api_url: str) -> Operation:
    resource = describe.resource_example(CONTACT, RELATED_IDS)
    results = [{"status": "201", "id": CONTACT.example_id}]
    meta = {"created": 1, "updated": 0, "skipped": 0, "refused": 0, "results": results}
    answer = describe.content("contacts_batch_results", {"data": [resource], "meta": meta})
    problems = [
        Problem(Refusal.BODY_NOT_OBJECT),
        Problem(Refusal.DATA_NOT_ARRAY),
        Problem(Refusal.META_INVALID, "on_duplicate"),
    ]
    body = {"data": [describe.create_example(CONTACT, RELATED_IDS)["data"]], "meta": {"on_duplicate": "skip"}}
    return _operation(
        "Create up to 1,000 contacts, each by itself",
        "batch_contacts",
        {"200": {"description": "A result for each.", "content": answer}},
        problems,
        api_url,
        body=("contacts_batch", body),
        with_id=False,
    )


def _consent_events(api_url: str) -> Operation:
    example = describe.resource_example(consent.TYPE, {})
    page = {"data": [example], "links": {}, "meta": {"total": 1}}
    content = describe.content(f"{consent.TYPE.name}_collection", page)
    described = _operation(
        "List the consent events of a contact, oldest first",
        "list_consent_events",
        {"200": {"description": "A page.", "content": content}},
        [NOT_FOUND, Problem(Refusal.CURSOR_UNKNOWN, "page[after]"), Problem(Refusal.INCLUDE_UNKNOWN, "x")],
        api_url,
    )
    described["parameters"] = [ID, *describe.collection_parameters(consent.TYPE)]
    return described


def _merge(api_url: str) -> Operation:
    return _operation(
        "Merge another contact into this one",
        "merge_contacts",
        {"200": _contact("The survivor.", api_url)},
        [
            NOT_FOUND,
            Problem(Refusal.BODY_NOT_OBJECT),
            Problem(Refusal.DATA_NOT_IDENTIFIER),
            Problem(Refusal.CHANGED_MEANWHILE),
            Problem(Refusal.MERGED_WITH_ITSELF),
        ],
        api_url,
        body=("contacts_identifier", OTHER),
    )


def _export(api_url: str) -> Operation:
    return _operation(
        "Export all that is held about a person",
        "export_contact",
        {"200": _contact("The contact, and in `included` all that belongs to it.", api_url)},
        [NOT_FOUND],
        api_url,
    )


def _erase(api_url: str) -> Operation:
    gone = {
        "description": "Only the id stays.",
        "content": describe.content("nothing", {"data": {}}),
    }
    return _operation("Erase a person for good", "erase_contact", {"200": gone}, [NOT_FOUND], api_url)


def _operations(api_url: str) -> Operation:
    add = {"op": "add", "data": describe.create_example(CONTACT, RELATED_IDS)["data"]}
    media_type = describe.MEDIA_TYPE + ';ext="https://jsonapi.org/ext/atomic"'
    answer = {
        media_type: {
            "schema": describe.reference("operation_results"),
            "example": {"atomic:results": [{"data": describe.resource_example(CONTACT, RELATED_IDS)}]},
        }
    }
    described = _operation(
        "Perform up to 100 operations, all or none",
        "perform_operations",
        {"200": {"description": "A result for each.", "content": answer}},
        [
            NOT_FOUND,
            Problem(Refusal.BODY_NOT_OBJECT),
            Problem(Refusal.OPERATION_NOT_UNDERSTOOD, words=(("why", "A ref needs a type"),)),
            Problem(Refusal.TYPE_CONFLICT, words=(("type", CONTACT.name),)),
            Problem(Refusal.BLANK, "email"),
        ],
        api_url,
        body=("operations", {"atomic:operations": [add]}),
        with_id=False,
    )
    return described | {"tags": ["operations"]}


_SINGLE = f"/v1/{CONTACT.name}/{{id}}"
PEOPLE_OPERATIONS: dict[tuple[str, str], Callable[[str], Operation]] = {
    ("GET", f"{_SINGLE}/relationships/tags"): _tags("show", "Show the tags of a contact"),
    ("POST", f"{_SINGLE}/relationships/tags"): _tags("add", "Add tags to a contact"),
    ("PATCH", f"{_SINGLE}/relationships/tags"): _tags("replace", "Replace the tags of a contact"),
    ("DELETE", f"{_SINGLE}/relationships/tags"): _tags("remove", "Remove tags from a contact"),
    ("POST", f"/v1/{CONTACT.name}/upsert"): _upsert,
    ("POST", f"/v1/{CONTACT.name}/batch"): _batch,
    ("GET", f"{_SINGLE}/consent_events"): _consent_events,
    ("POST", f"{_SINGLE}/merge"): _merge,
    ("GET", f"{_SINGLE}/export"): _export,
    ("POST", f"{_SINGLE}/erase"): _erase,
    ("POST", "/v1/operations"): _operations,
}
