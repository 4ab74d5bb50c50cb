"""The OpenAPI description of what contacts have beyond a resource, and of atomic operations."""

from collections.abc import Callable, Sequence
from typing import Any

from rollbook.jsonapi import openapi as describe
from rollbook.jsonapi import openapi_refusals as refusals
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
MERGED = Problem(Refusal.NOT_FOUND, "merged", existing=(CONTACT.name, 2301000457), existing_as="merged_into")
_NOT_BLANK = {"type": "string", "pattern": r"\S"}
_FLAG = {"type": "boolean", "default": False}
_CONSENT: dict[str, Any] = {
    "type": "object",
    "description": "How a change of `subscribed` came about.",
    "properties": {
        "source": _NOT_BLANK,
        "wording": _NOT_BLANK,
        "ip_address": _NOT_BLANK,
        "cause": {"enum": [consent.ADMINISTRATOR, consent.RECIPIENT], "default": consent.ADMINISTRATOR},
    },
}
CONSENT_META = {"type": "object", "properties": {"consent": _CONSENT}} | describe.EXTENSION
_UPSERT_META = {
    "type": "object",
    "properties": {
        "match": {"enum": ["email", "external_user_id"], "default": "email"},
        "resubscribe": _FLAG,
        "consent": _CONSENT,
    },
}
_BATCH_META = {
    "type": "object",
    "properties": {
        "on_duplicate": {"enum": ["refuse", "skip", "update"], "default": "refuse"},
        "resubscribe": _FLAG,
        "consent": _CONSENT,
    },
}
_TARGET_PARTS = {"type": describe.STRING, "id": describe.STRING, "lid": describe.STRING}
_TARGET = {"type": "object", "required": ["type"], "properties": _TARGET_PARTS}
_REF = _TARGET | {"properties": {**_TARGET_PARTS, "relationship": {"enum": ["tags"]}}}
_WRITTEN = _TARGET | {
    "properties": {**_TARGET_PARTS, "attributes": {"type": "object"}, "relationships": {"type": "object"}}
}
_OPERATION = {
    "type": "object",
    "required": ["op"],
    "properties": {
        "op": {"enum": ["add", "update", "remove"]},
        "ref": _REF,
        "href": describe.STRING,
        "data": {
            "anyOf": [_WRITTEN, {"type": "array", "items": _TARGET}, {"type": "null"}],
            "description": "A resource object, or the identifiers of a relationship.",
        },
    },
}
_COUNT = {"type": "integer", "minimum": 0}
_RESULT = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": describe.STRING,
        "id": describe.IDENTIFIER_ID,
        "skipped": {"const": True},
        "errors": {"type": "array", "minItems": 1, "items": describe.reference("error")},
    },
}
_WITHOUT_VIEW = "Without `view:contacts`, of a contact that was there only what was sent, as it is now, and"
_SENT = {
    "type": "object",
    "description": "Of a contact that was there what was sent, for a key that may not view contacts.",
    "required": ["id", "type", "attributes", "relationships"],
    "properties": {
        "id": describe.IDENTIFIER_ID,
        "type": {"const": CONTACT.name},
        "attributes": describe.reference(f"{CONTACT.name}_attributes"),
        "relationships": {
            "type": "object",
            "required": ["site"],
            "properties": {
                name: describe.reference(
                    f"{CONTACT.name}_resource/properties/relationships/properties/{name}"
                )
                for name in ("site", "tags")
            },
        },
    },
}
_COUNTS = ("created", "updated", "skipped", "refused")
_RESULTS = {
    "type": "object",
    "required": [*_COUNTS, "results"],
    "properties": dict.fromkeys(_COUNTS, _COUNT) | {"results": {"type": "array", "items": _RESULT}},
}
_EXPORTED = ("sites", "contact_tags", "contact_notes", consent.TYPE.name, "audit_events")
_IDENTIFIERS = {"type": "array", "items": describe.identifier_schema("contact_tags")}


def _document(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def people_schemas(written: Sequence[str]) -> dict[str, Any]:
    """Return the schemas of these calls; `written` are the types that operations can write."""
    contact, one = (
        describe.reference("contacts_resource"),
        describe.reference("contacts_create/properties/data"),
    )
    met = {"anyOf": [contact, describe.reference("contacts_sent")]}
    links = _document(self=describe.LINK, current=describe.LINK)
    resources = [describe.reference(f"{name}_resource") for name in written]
    many = {"type": "array", "minItems": 1, "maxItems": 1_000, "items": one}
    done = {"type": "object", "properties": {"data": {"anyOf": [*resources, _IDENTIFIERS]}}}
    operations = {"type": "array", "minItems": 1, "maxItems": 100, "items": _OPERATION}
    included = describe.included_schema(_EXPORTED)
    return {
        "nothing": _document(data={"type": "object", "properties": {}}),
        "tags_linkage": describe.linkage_schema("contact_tags"),
        "contacts_identifier": _document(data=describe.identifier_schema(CONTACT.name)),
        "contacts_upsert": _document(data=one) | {"properties": {"data": one, "meta": _UPSERT_META}},
        "contacts_sent": _SENT,
        "contacts_upserted": _document(data=met, links=links),
        "contacts_batch": _document(data=many) | {"properties": {"data": many, "meta": _BATCH_META}},
        "contacts_batch_results": _document(data={"type": "array", "items": met}, meta=_RESULTS),
        "contacts_export": _document(
            data=contact,
            included=included,
            links=links,
            meta=_document(
                exported_at={"type": "string", "format": "date-time"},
                merged_ids={"type": "array", "items": {"type": "string"}},
                mobile_phone_number={"type": ["string", "null"]},
            ),
        ),
        "operations": _document(**{"atomic:operations": operations}),
        "operation_results": _document(**{"atomic:results": {"type": "array", "items": done}}),
    }


def _contact(description: str, api_url: str, schema: str = f"{CONTACT.name}_document") -> dict[str, Any]:
    url = f"{api_url}/{CONTACT.name}/{CONTACT.example_id}"
    example = {
        "data": describe.resource_example(CONTACT, RELATED_IDS),
        "links": {"self": url, "current": url},
    }
    content = describe.content(schema, example)
    return {"description": description, "headers": dict(describe.ETAG), "content": content}


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
    described["responses"] = responses | refusals.error_responses(problems, api_url)
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
            [NOT_FOUND, MERGED, *shape],
            api_url,
            body=body,
            extension=False,
        )

    return make


def _upsert(api_url: str) -> Operation:
    responses = {
        "201": _contact("There was none, and it was created.", api_url),
        "200": _contact(
            f"It was there, and is changed as asked. {_WITHOUT_VIEW} no `ETag`.", api_url, "contacts_upserted"
        ),
    }
    responses["200"]["headers"]["ETag"] = describe.ETAG["ETag"] | {"required": False}
    responses["201"]["headers"] |= describe.LOCATION
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
        Problem(Refusal.ITEMS_OUT_OF_RANGE, words=_range("1,000", "resources", "/data")),
        Problem(Refusal.META_INVALID, "on_duplicate"),
    ]
    body = {"data": [describe.create_example(CONTACT, RELATED_IDS)["data"]], "meta": {"on_duplicate": "skip"}}
    return _operation(
        "Create up to 1,000 contacts, each by itself",
        "batch_contacts",
        {
            "200": {
                "description": f"A result for each. {_WITHOUT_VIEW} nothing of who was skipped.",
                "content": answer,
            }
        },
        problems,
        api_url,
        body=("contacts_batch", body),
        with_id=False,
    )


def _consent_events(api_url: str) -> Operation:
    example = describe.resource_example(consent.TYPE, {})
    url = f"{api_url}/{CONTACT.name}/{CONTACT.example_id}/{consent.TYPE.name}"
    counts = {"total": 1, "total_count": 1, "total_pages": 1, "current_page": 1}
    page = {"data": [example], "links": {"self": url, "current": url}, "meta": counts}
    content = describe.content(f"{consent.TYPE.name}_collection", page)
    described = _operation(
        "List the consent events of a contact, oldest first",
        "list_consent_events",
        {"200": {"description": "A page.", "content": content}},
        [
            NOT_FOUND,
            MERGED,
            Problem(Refusal.CURSOR_UNKNOWN, "page[after]"),
            Problem(Refusal.CURSORS_BOTH),
            Problem(Refusal.INCLUDE_UNKNOWN, "nobody"),
        ],
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
            MERGED,
            Problem(Refusal.BODY_NOT_OBJECT),
            Problem(Refusal.DATA_NOT_IDENTIFIER),
            Problem(Refusal.CHANGED_MEANWHILE),
            Problem(Refusal.MERGED_WITH_ITSELF),
        ],
        api_url,
        body=("contacts_identifier", OTHER),
    )


def _export(api_url: str) -> Operation:
    url = f"{api_url}/{CONTACT.name}/{CONTACT.example_id}/export"
    example = {
        "data": describe.resource_example(CONTACT, RELATED_IDS),
        "included": [],
        "links": {"self": url, "current": url},
        "meta": {"exported_at": "2026-05-01T10:00:00.000Z", "merged_ids": [], "mobile_phone_number": None},
    }
    content = describe.content("contacts_export", example)
    return _operation(
        "Export all that is held about a person",
        "export_contact",
        {
            "200": {
                "description": "The contact, and in `included` all that belongs to it.",
                "content": content,
            }
        },
        [NOT_FOUND, MERGED],
        api_url,
    )


def _erase(api_url: str) -> Operation:
    gone = {
        "description": "Only the id stays.",
        "content": describe.content("nothing", {"data": {}}),
    }
    return _operation("Erase a person for good", "erase_contact", {"200": gone}, [NOT_FOUND, MERGED], api_url)


def _range(limit: str, items: str, where: str) -> tuple[tuple[str, str], ...]:
    return (("limit", limit), ("items", items), ("where", where))


_SHAPELESS = (("why", "A ref must be an object with a type"),)


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
            Problem(Refusal.ITEMS_OUT_OF_RANGE, words=_range("100", "operations", "/atomic:operations")),
            Problem(Refusal.OPERATION_NOT_UNDERSTOOD, words=_SHAPELESS, within="/atomic:operations/0"),
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
