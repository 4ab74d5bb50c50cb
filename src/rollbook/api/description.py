"""The OpenAPI description of this server, made of the declarations and of the table of routes."""

from collections.abc import Callable
from typing import Any

from rollbook import __version__
from rollbook.api.description_of_people import CONSENT_META, MERGED, PEOPLE_OPERATIONS, people_schemas
from rollbook.api.description_of_service import LIMIT, SERVICE_OPERATIONS, SERVICE_SCHEMAS
from rollbook.api.routes import Route, all_routes
from rollbook.jsonapi import openapi as describe
from rollbook.jsonapi import openapi_refusals as refusals
from rollbook.jsonapi.errors import Problem, Refusal
from rollbook.jsonapi.resource import ResourceType
from rollbook.register import consent, contacts
from rollbook.register.beginnings import FIRST_SITE
from rollbook.register.catalogue import RESOURCES
from rollbook.register.resource import Change, Creation, Removal, Resource

RELATED_IDS = {"site": str(FIRST_SITE)}
SHAPE_PROBLEMS = (
    Problem(Refusal.BODY_NOT_OBJECT),
    Problem(Refusal.DATA_NOT_OBJECT),
    Problem(Refusal.ATTRIBUTES_NOT_OBJECT),
)
WRITE_PROBLEMS = (
    Problem(Refusal.BODY_TOO_LARGE, words=LIMIT),
    Problem(Refusal.BODY_TOO_SLOW),
    Problem(Refusal.HEADER_NOT_USABLE, "Idempotency-Key"),
    Problem(Refusal.RETRY_RUNNING),
    Problem(Refusal.RETRY_DIFFERS),
)
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Extension: the same key with the same request gets the first answer, for 24 hours.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
} | describe.EXTENSION
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "Extension: only if the resource still has this ETag.",
    "schema": describe.STRING,
} | describe.EXTENSION
IF_NONE_MATCH = IF_MATCH | {
    "name": "If-None-Match",
    "description": "Extension: 304 without a body if the resource still has this ETag.",
}
REPLAYED = {
    "description": "Extension: this is the answer that the same request got before.",
    "schema": {"const": "true"},
} | describe.EXTENSION
ABOUT = (
    "The contacts on one's sites, in JSON:API 1.1, wire-compatible with the contacts part of Kajabi's public "
    "API v1. Rollbook is independent of Kajabi. Get a token with the client id and secret of a key, then "
    "create a contact.\n\nBeside what is described for each call, every request may be refused before it is "
    "one: with 400 what is not HTTP, with 408 what comes too slowly, with 413 a body that is too large, with "
    "431 a head that is."
)

Operation = dict[str, Any]


def describe_api(base_url: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description for a server with this public base URL."""
    resources = [*RESOURCES.values()]
    schemas: dict[str, Any] = refusals.SCHEMAS | SERVICE_SCHEMAS
    for resource in (*resources, consent.RESOURCE):
        schemas |= describe.resource_schemas(resource.type, RESOURCES)
        meta = CONSENT_META if resource is contacts.RESOURCE else None
        if resource.creation is not None:
            schemas[f"{resource.type.name}_create"] = describe.create_schema(resource.type, meta)
        if resource.change is not None:
            schemas[f"{resource.type.name}_change"] = describe.change_schema(resource.type, meta)
    schemas |= people_schemas([each.type.name for each in resources if each.change or each.creation])
    paths: dict[str, Any] = {}
    for route in all_routes(resources):
        operation = _operation(route, f"{base_url}/v1")
        if operation is not None:
            paths.setdefault(route.template, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Rollbook",
            "version": __version__,
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": base_url}],
        "tags": [{"name": name} for name in ("oauth", *RESOURCES, "operations", "service")],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "oauth2": {
                    "type": "oauth2",
                    "flows": {
                        "clientCredentials": {
                            "tokenUrl": f"{base_url}/v1/oauth/token",
                            "refreshUrl": f"{base_url}/v1/oauth/token",
                            "scopes": {},
                        }
                    },
                },
            },
        },
        "security": [{"bearer": []}, {"oauth2": []}],
    }


def _operation(route: Route, api_url: str) -> Operation | None:
    """Return the description of a route; None for those that serve a page for people, or an alias."""
    known = (route.method, route.template)
    if known in PEOPLE_OPERATIONS:
        described = PEOPLE_OPERATIONS[known](api_url)
    elif route.resource is not None:
        described = OF_RESOURCE[route.method, route.template.endswith("{id}")](route.resource, api_url)
    elif known in SERVICE_OPERATIONS:
        return SERVICE_OPERATIONS[known](api_url)
    else:
        return None
    problems = [
        *refusals.COMMON_PROBLEMS,
        Problem(Refusal.PERMISSION_MISSING),
        Problem(Refusal.PARAMETER_UNKNOWN, "limit"),
    ]
    if route.writes:
        problems += WRITE_PROBLEMS
        for status in described["responses"].keys() & {"200", "201"}:
            described["responses"][status].setdefault("headers", {})["Idempotency-Replayed"] = REPLAYED
        described.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
        if "{id}" in route.template:
            problems.append(Problem(Refusal.CHANGED_MEANWHILE))
            described["parameters"].append(IF_MATCH)
    described["responses"] = refusals.with_problems(described["responses"], problems, api_url)
    return described


def _create(of: Resource, api_url: str) -> Operation:
    resource, name = of.type, of.type.name
    body = describe.create_example(resource, RELATED_IDS)
    created = _document(of, api_url, "Created.")
    created["headers"] |= describe.LOCATION
    return _described(f"Create a {resource.singular}", name, extension=_extends(of.creation)) | {
        "operationId": f"create_{name}",
        "requestBody": {"required": True, "content": describe.content(f"{name}_create", body)},
        "responses": {"201": created} | refusals.error_responses(_create_problems(resource), api_url),
    }


def _show(of: Resource, api_url: str) -> Operation:
    resource = of.type
    problems = [*_unknown(resource), Problem(Refusal.INCLUDE_UNKNOWN, "nobody")]
    unchanged = {"description": "The resource still has the ETag of the request.", "headers": describe.ETAG}
    return _described(f"Show a {resource.singular}", resource.name, extension=resource.extension) | {
        "operationId": f"show_{resource.name}",
        "parameters": [_id(of), *describe.single_parameters(resource), IF_NONE_MATCH],
        "responses": {"200": _document(of, api_url, "Found."), "304": unchanged}
        | refusals.error_responses(problems, api_url),
    }


def _change(of: Resource, api_url: str) -> Operation:
    resource, name = of.type, of.type.name
    optional = next(iter(resource.on_update))
    problems = [
        *_unknown(resource),
        Problem(Refusal.ID_CONFLICT),
        Problem(Refusal.TYPE_CONFLICT, words=(("type", name),)),
        Problem(Refusal.BLANK, optional),
        Problem(Refusal.INVALID, optional),
        *SHAPE_PROBLEMS,
    ]
    if "external_user_id" in resource.on_update:
        problems.append(Problem(Refusal.NEEDS_CUSTOMER, "external_user_id"))
    for each in resource.relationships:
        if each.on_update and each.to_many:
            where = f"/data/relationships/{each.name}/data"
            problems.append(Problem(Refusal.DATA_NOT_ARRAY, within=where))
    body = describe.content(f"{name}_change", describe.change_example(resource))
    return _described(f"Change a {resource.singular}", name, extension=_extends(of.change)) | {
        "operationId": f"change_{name}",
        "parameters": [_id(of)],
        "requestBody": {"required": True, "content": body},
        "responses": {"200": _document(of, api_url, "Changed, or as it was.")}
        | refusals.error_responses(problems, api_url),
    }


def _remove(of: Resource, api_url: str) -> Operation:
    resource = of.type
    gone = {"description": "Deleted.", "content": describe.content("nothing", {"data": {}})}
    return _described(f"Delete a {resource.singular}", resource.name, extension=_extends(of.removal)) | {
        "operationId": f"delete_{resource.name}",
        "parameters": [_id(of)],
        "responses": {"200": gone} | refusals.error_responses(_unknown(resource), api_url),
    }


def _list(of: Resource, api_url: str) -> Operation:
    resource, name = of.type, of.type.name
    url = f"{api_url}/{name}"
    page = {
        "data": [describe.resource_example(resource, RELATED_IDS)],
        "links": {"self": url, "current": url},
        "meta": {"total": 1, "total_count": 1, "total_pages": 1, "current_page": 1},
    }
    problems = [
        Problem(Refusal.INCLUDE_UNKNOWN, "nobody"),
        Problem(Refusal.CURSOR_UNKNOWN, "page[after]"),
        Problem(Refusal.CURSORS_BOTH),
    ]
    listed = {"description": "A page.", "content": describe.content(f"{name}_collection", page)}
    return _described(f"List {name}", name, resource.description, extension=resource.extension) | {
        "operationId": f"list_{name}",
        "parameters": describe.collection_parameters(resource),
        "responses": {"200": listed} | refusals.error_responses(problems, api_url),
    }


OF_RESOURCE: dict[tuple[str, bool], Callable[[Resource, str], Operation]] = {
    ("GET", False): _list,
    ("POST", False): _create,
    ("GET", True): _show,
    ("PATCH", True): _change,
    ("DELETE", True): _remove,
}


def _id(of: Resource) -> dict[str, Any]:
    parameter = {"name": "id", "in": "path", "required": True, "schema": describe.IDENTIFIER_ID}
    return parameter | {"example": of.type.example_id}


def _document(of: Resource, api_url: str, description: str) -> dict[str, Any]:
    resource = of.type
    own = f"{api_url}/{resource.name}/{resource.example_id}"
    example = {
        "data": describe.resource_example(resource, RELATED_IDS),
        "links": {"self": own, "current": own},
    }
    return {
        "description": description,
        "headers": dict(describe.ETAG),
        "content": describe.content(f"{resource.name}_document", example),
    }


def _unknown(resource: ResourceType) -> list[Problem]:
    """Return the problems of an id in the path: a contact's may be that of one that was merged."""
    problems = [Problem(Refusal.NOT_FOUND)]
    return [*problems, MERGED] if resource is contacts.RESOURCE.type else problems


def _extends(part: Creation | Change | Removal | None) -> bool:
    return part is not None and part.extension


def _create_problems(resource: ResourceType) -> list[Problem]:
    required = [each.name for each in resource.relationships if each.required]
    texts = [each for _, each in resource.on_create.values() if each.required]
    problems = [
        *SHAPE_PROBLEMS,
        *(Problem(Refusal.RELATIONSHIP_REQUIRED, name) for name in required),
        *(Problem(Refusal.RELATED_NOT_FOUND, name) for name in required),
        *(Problem(Refusal.MUST_EXIST, each.name) for each in resource.relationships if each.on_create),
        Problem(Refusal.TYPE_CONFLICT, words=(("type", resource.name),)),
    ]
    for each in texts:
        problems += [Problem(refusal, each.name) for refusal in (Refusal.BLANK, Refusal.INVALID)]
        problems.append(Problem(Refusal.TAKEN, each.name, existing=(resource.name, int(resource.example_id))))
    optional = next((name for name, (_, each) in resource.on_create.items() if each.nullable), None)
    if optional:
        problems += [Problem(refusal, optional) for refusal in (Refusal.INVALID, Refusal.NOT_STORABLE)]
    return problems


def _described(summary: str, tag: str, description: str = "", extension: bool = False) -> Operation:
    described: Operation = {"summary": summary, "tags": [tag]}
    described |= {"description": description} if description else {}
    return described | (describe.EXTENSION if extension else {})
