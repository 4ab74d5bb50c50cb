"""The OpenAPI description of this server, made of the declarations and of the table of routes."""

from collections.abc import Callable
from typing import Any

from rollbook import __version__
from rollbook.api.description_of_people import PEOPLE_OPERATIONS, PEOPLE_SCHEMAS
from rollbook.api.routes import Route, all_routes
from rollbook.jsonapi import openapi as describe
from rollbook.jsonapi.errors import Problem, Refusal
from rollbook.jsonapi.resource import ResourceType
from rollbook.register import consent
from rollbook.register.beginnings import FIRST_SITE
from rollbook.register.catalogue import RESOURCES
from rollbook.register.resource import Change, Creation, Removal, Resource
from rollbook.register.tokens import ACCESS_SECONDS

RELATED_IDS = {"site": str(FIRST_SITE)}
LIMIT = (("limit", "1048576"),)
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
ABOUT = (
    "The contacts on one's sites, in JSON:API 1.1, wire-compatible with the contacts part of Kajabi's public "
    "API v1. Rollbook is independent of Kajabi. Get a token with the client id and secret of a key, then "
    "create a contact."
)

TOKEN_SCHEMA = {
    "type": "object",
    "properties": {
        "grant_type": {"enum": ["client_credentials", "refresh_token", "password"]},
        "client_id": {"type": "string"},
        "client_secret": {"type": "string"},
        "refresh_token": {"type": "string"},
        "username": {"type": "string"},
        "password": {"type": "string", "format": "password"},
        "scope": {"type": "string"},
    },
}
FLAT_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}

Operation = dict[str, Any]


def describe_api(base_url: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description for a server with this public base URL."""
    resources = [*RESOURCES.values()]
    schemas: dict[str, Any] = {
        "errors": describe.ERROR_SCHEMA,
        "flat_error": FLAT_ERROR,
        "token_request": TOKEN_SCHEMA,
        "token": _object({"access_token": "string", "refresh_token": "string", "token_type": "string"})
        | {"required": ["access_token", "refresh_token", "token_type", "expires_in"]},
        "me": {"type": "object", "required": ["data"], "properties": {"data": {"type": "object"}}},
        "version": _object({"meta": "object", "links": "object", "jsonapi": "object"}),
        "health": _object({"status": "string", "reason": "string"}),
    }
    schemas["token"]["properties"]["expires_in"] = {"type": "integer", "const": ACCESS_SECONDS}
    for resource in (*resources, consent.RESOURCE):
        schemas |= describe.resource_schemas(resource.type)
        if resource.creation is not None:
            schemas[f"{resource.type.name}_create"] = describe.create_schema(resource.type)
        if resource.change is not None:
            schemas[f"{resource.type.name}_change"] = describe.change_schema(resource.type)
    schemas |= PEOPLE_SCHEMAS
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
    problems = [*describe.COMMON_PROBLEMS, Problem(Refusal.PERMISSION_MISSING)]
    if route.writes:
        problems += WRITE_PROBLEMS
        described.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
        if "{id}" in route.template and not route.template.endswith(("merge", "erase")):
            problems.append(Problem(Refusal.CHANGED_MEANWHILE))
            described["parameters"].append(IF_MATCH)
    else:
        problems.append(Problem(Refusal.PARAMETER_UNKNOWN, "limit"))
    _add_problems(described, problems, api_url)
    return described


def _add_problems(described: Operation, problems: list[Problem], api_url: str) -> None:
    """Add the examples of problems to the responses, those of one status side by side."""
    for status, response in describe.error_responses(problems, api_url).items():
        if status not in described["responses"]:
            described["responses"][status] = response
            continue
        known = described["responses"][status]["content"][describe.MEDIA_TYPE]["examples"]
        known |= response["content"][describe.MEDIA_TYPE]["examples"]


def _create(of: Resource, api_url: str) -> Operation:
    resource, name = of.type, of.type.name
    body = describe.create_example(resource, RELATED_IDS)
    created = _document(of, api_url, "Created.")
    created["headers"]["Location"] = {"description": "The new resource.", "schema": describe.LINK}
    return _described(f"Create a {resource.singular}", name, extension=_extends(of.creation)) | {
        "operationId": f"create_{name}",
        "requestBody": {"required": True, "content": describe.content(f"{name}_create", body)},
        "responses": {"201": created} | describe.error_responses(_create_problems(resource), api_url),
    }


def _show(of: Resource, api_url: str) -> Operation:
    resource = of.type
    problems = [Problem(Refusal.NOT_FOUND), Problem(Refusal.INCLUDE_UNKNOWN, "nobody")]
    return _described(f"Show a {resource.singular}", resource.name, extension=resource.extension) | {
        "operationId": f"show_{resource.name}",
        "parameters": [_id(of), *describe.single_parameters(resource), IF_NONE_MATCH],
        "responses": {"200": _document(of, api_url, "Found."), "304": {"description": "Unchanged."}}
        | describe.error_responses(problems, api_url),
    }


def _change(of: Resource, api_url: str) -> Operation:
    resource, name = of.type, of.type.name
    optional = next(iter(resource.on_update))
    problems = [
        Problem(Refusal.NOT_FOUND),
        Problem(Refusal.ID_CONFLICT),
        Problem(Refusal.TYPE_CONFLICT, words=(("type", name),)),
        Problem(Refusal.BLANK, optional),
        Problem(Refusal.INVALID, optional),
        *SHAPE_PROBLEMS,
    ]
    body = describe.content(f"{name}_change", describe.change_example(resource))
    return _described(f"Change a {resource.singular}", name, extension=_extends(of.change)) | {
        "operationId": f"change_{name}",
        "parameters": [_id(of)],
        "requestBody": {"required": True, "content": body},
        "responses": {"200": _document(of, api_url, "Changed, or as it was.")}
        | describe.error_responses(problems, api_url),
    }


def _remove(of: Resource, api_url: str) -> Operation:
    resource = of.type
    gone = {"description": "Deleted.", "content": describe.content("nothing", {"data": {}})}
    return _described(f"Delete a {resource.singular}", resource.name, extension=_extends(of.removal)) | {
        "operationId": f"delete_{resource.name}",
        "parameters": [_id(of)],
        "responses": {"200": gone} | describe.error_responses([Problem(Refusal.NOT_FOUND)], api_url),
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
        "responses": {"200": listed} | describe.error_responses(problems, api_url),
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
        "headers": {"ETag": {"description": "What it is now.", "schema": describe.STRING}},
        "content": describe.content(f"{resource.name}_document", example),
    }


def _extends(part: Creation | Change | Removal | None) -> bool:
    return part is not None and part.extension


def _create_problems(resource: ResourceType) -> list[Problem]:
    required = [each.name for each in resource.relationships if each.required]
    texts = [each for _, each in resource.on_create.values() if each.required]
    problems = [
        *SHAPE_PROBLEMS,
        *(Problem(Refusal.RELATIONSHIP_REQUIRED, name) for name in required),
        *(Problem(Refusal.RELATED_NOT_FOUND, name) for name in required),
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


def _object(properties: dict[str, str]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": kind} for name, kind in properties.items()}}


def _json(schema: str, example: Any) -> dict[str, Any]:
    return {"application/json": {"schema": describe.reference(schema), "example": example}}


def _token(api_url: str) -> Operation:
    given = {"grant_type": "client_credentials", "client_id": "…", "client_secret": "…"}
    granted = {
        "access_token": "…",
        "refresh_token": "…",
        "token_type": "Bearer",
        "expires_in": ACCESS_SECONDS,
    }
    schema = {"schema": describe.reference("token_request"), "example": given}
    media_types = ("application/x-www-form-urlencoded", "application/json", "multipart/form-data")
    wrong = {"error": "Invalid client credentials"}
    missing = {"error": "Missing required parameters"}
    about = "By client credentials, a refresh token alone, or, where it is on, a user's e-mail and password."
    return _described("Get a token", "oauth", about) | {
        "operationId": "token",
        "security": [],
        "requestBody": {"required": True, "content": dict.fromkeys(media_types, schema)},
        "responses": {
            "200": {"description": "A pair of tokens.", "content": _json("token", granted)},
            "400": {"description": "Parameters or grant wrong.", "content": _json("flat_error", missing)},
            "401": {"description": "Credentials wrong.", "content": _json("flat_error", wrong)},
        }
        | _service_problems(Refusal.BODY_TOO_LARGE, api_url=api_url),
    }


def _revoke(api_url: str) -> Operation:
    content = {
        "application/x-www-form-urlencoded": {
            "schema": _object({"token": "string"}),
            "example": {"token": "…"},
        }
    }
    missing = {"error": "Missing required parameters"}
    return _described("Revoke a pair of tokens", "oauth", "Either of the pair's tokens ends both.") | {
        "operationId": "revoke",
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "Revoked, or unknown; the body is empty."},
            "400": {"description": "No token given.", "content": _json("flat_error", missing)},
        }
        | _service_problems(
            Refusal.TOKEN_MISSING, Refusal.TOKEN_INVALID, Refusal.BODY_TOO_LARGE, api_url=api_url
        ),
    }


def _me(api_url: str) -> Operation:
    attributes = {"initials": "MV", "name": "Mira Vance", "email": "mira@example.test", "role_level": "OWNER"}
    example = {"data": {"id": "2300000007", "type": "users", "attributes": attributes}}
    return _described("Show the user that the key belongs to", "service") | {
        "operationId": "me",
        "responses": {"200": {"description": "The user.", "content": describe.content("me", example)}}
        | _service_problems(Refusal.TOKEN_MISSING, Refusal.TOKEN_INVALID, api_url=api_url),
    }


def _version(api_url: str) -> Operation:
    example = {"meta": {"title": "Contacts API V1", "version": "1.1.0"}}
    return _described("Show the version of the API", "service") | {
        "operationId": "version",
        "security": [],
        "responses": {"200": {"description": "The version.", "content": describe.content("version", example)}}
        | _service_problems(api_url=api_url),
    }


def _health(summary: str, operation_id: str, unready: bool) -> Callable[[str], Operation]:
    def make(_api_url: str) -> Operation:
        responses: dict[str, Any] = {
            "200": {"description": "Yes.", "content": _json("health", {"status": operation_id.rstrip("z")})}
        }
        if unready:
            responses["503"] = {"description": "No.", "content": _json("health", {"status": "unready"})}
        return _described(summary, "service") | {
            "operationId": operation_id,
            "security": [],
            "responses": responses,
        }

    return make


def _service_problems(*refusals: Refusal, api_url: str) -> dict[str, Any]:
    problems = [Problem(refusal, words=LIMIT) for refusal in refusals]
    ends = [Problem(each) for each in (Refusal.RATE_EXCEEDED, Refusal.UNEXPECTED, Refusal.UNAVAILABLE)]
    return describe.error_responses(problems + ends, api_url)


SERVICE_OPERATIONS: dict[tuple[str, str], Callable[[str], Operation]] = {
    ("POST", "/v1/oauth/token"): _token,
    ("POST", "/v1/oauth/revoke"): _revoke,
    ("GET", "/v1/me"): _me,
    ("GET", "/v1/version"): _version,
    ("GET", "/livez"): _health("Say whether the process serves", "livez", unready=False),
    ("GET", "/readyz"): _health(
        "Say whether the database answers with the right schema", "readyz", unready=True
    ),
}
