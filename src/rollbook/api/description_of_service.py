"""The OpenAPI description of what is no resource's: tokens, the caller's user, the version, health."""

from collections.abc import Callable, Sequence
from typing import Any

from rollbook.jsonapi import openapi as describe
from rollbook.jsonapi import openapi_refusals as refusals
from rollbook.jsonapi.errors import Problem, Refusal
from rollbook.register.tokens import ACCESS_SECONDS

Operation = dict[str, Any]

LIMIT = (("limit", "1048576"),)


def _object(properties: dict[str, Any], optional: Sequence[str] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties}


_TEXT = describe.STRING
_USER = _object(
    {
        "initials": _TEXT,
        "name": _TEXT,
        "email": _TEXT,
        "role_level": {"enum": ["OWNER", "ADMINISTRATOR"]},
    }
)
_VERSION = {
    "meta": _object({"title": _TEXT, "version": _TEXT}),
    "links": _object({"documentation": describe.LINK}),
    "jsonapi": _object({"version": _TEXT, "specification": describe.LINK, "specficiation": describe.LINK}),
}
SERVICE_SCHEMAS: dict[str, Any] = {
    "flat_error": _object({"error": _TEXT}),
    "token_request": {
        "type": "object",
        "properties": {
            "grant_type": {"enum": ["client_credentials", "refresh_token", "password"]},
            "client_id": _TEXT,
            "client_secret": _TEXT,
            "refresh_token": _TEXT,
            "username": _TEXT,
            "password": {"type": "string", "format": "password"},
            "scope": _TEXT,
        },
    },
    "token": _object(
        {
            "access_token": _TEXT,
            "refresh_token": _TEXT,
            "token_type": {"const": "Bearer"},
            "expires_in": {"type": "integer", "const": ACCESS_SECONDS},
        }
    ),
    "revocation": _object({"token": _TEXT}),
    "me": _object(
        {"data": _object({"id": describe.IDENTIFIER_ID, "type": {"const": "users"}, "attributes": _USER})}
    ),
    "version": _object(_VERSION),
    "health": _object({"status": {"enum": ["live", "ready", "unready"]}, "reason": _TEXT}, ["reason"]),
}


def _described(summary: str, tag: str, operation_id: str, description: str = "") -> Operation:
    described: Operation = {"summary": summary, "tags": [tag], "operationId": operation_id}
    return described | ({"description": description} if description else {})


def _json(schema: str, example: Any) -> dict[str, Any]:
    return {"application/json": {"schema": describe.reference(schema), "example": example}}


def _forms(schema: str, example: Any) -> dict[str, Any]:
    """Return the content of a request that may be a form, JSON or multipart."""
    media_types = ("application/x-www-form-urlencoded", "application/json", "multipart/form-data")
    return {each: {"schema": describe.reference(schema), "example": example} for each in media_types}


def _with_problems(described: Operation, api_url: str, *of_the_call: Refusal) -> Operation:
    ends = (Refusal.RATE_EXCEEDED, Refusal.UNEXPECTED, Refusal.UNAVAILABLE)
    problems = [Problem(refusal, words=LIMIT) for refusal in (*of_the_call, *ends)]
    if Refusal.TOKEN_MISSING in of_the_call:
        problems.append(Problem(Refusal.PARAMETER_UNKNOWN, "limit"))
    return described | {"responses": refusals.with_problems(described["responses"], problems, api_url)}


_OF_BEARER = (Refusal.TOKEN_MISSING, Refusal.TOKEN_INVALID)


def _token(api_url: str) -> Operation:
    given = {"grant_type": "client_credentials", "client_id": "…", "client_secret": "…"}
    granted = {
        "access_token": "…",
        "refresh_token": "…",
        "token_type": "Bearer",
        "expires_in": ACCESS_SECONDS,
    }
    wrong = {"error": "Invalid client credentials"}
    missing = {"error": "Missing required parameters"}
    about = "By client credentials, a refresh token alone, or, where it is on, a user's e-mail and password."
    described = _described("Get a token", "oauth", "token", about) | {
        "security": [],
        "requestBody": {"required": True, "content": _forms("token_request", given)},
        "responses": {
            "200": {"description": "A pair of tokens.", "content": _json("token", granted)},
            "400": {"description": "Parameters or grant wrong.", "content": _json("flat_error", missing)},
            "401": {"description": "Credentials wrong.", "content": _json("flat_error", wrong)},
        },
    }
    return _with_problems(described, api_url, Refusal.BODY_TOO_LARGE, Refusal.BODY_TOO_SLOW)


def _revoke(api_url: str) -> Operation:
    missing = {"error": "Missing required parameters"}
    about = "Either of the pair's tokens ends both."
    described = _described("Revoke a pair of tokens", "oauth", "revoke", about) | {
        "requestBody": {"required": True, "content": _forms("revocation", {"token": "…"})},
        "responses": {
            "200": {"description": "Revoked, or unknown; the body is empty."},
            "400": {"description": "No token given.", "content": _json("flat_error", missing)},
        },
    }
    return _with_problems(described, api_url, *_OF_BEARER, Refusal.BODY_TOO_LARGE, Refusal.BODY_TOO_SLOW)


def _me(api_url: str) -> Operation:
    attributes = {"initials": "MV", "name": "Mira Vance", "email": "mira@example.test", "role_level": "OWNER"}
    example = {"data": {"id": "2300000007", "type": "users", "attributes": attributes}}
    described = _described("Show the user that the key belongs to", "service", "me") | {
        "responses": {"200": {"description": "The user.", "content": describe.content("me", example)}}
    }
    return _with_problems(described, api_url, *_OF_BEARER)


def _version(api_url: str) -> Operation:
    specification = "https://jsonapi.org/format/"
    spelled = {"specification": specification, "specficiation": specification}
    example = {
        "meta": {"title": "Contacts API V1", "version": "1.1.0"},
        "links": {"documentation": api_url.removesuffix("/v1") + "/docs"},
        "jsonapi": {"version": "v1.1"} | spelled,
    }
    content = describe.content("version", example)
    described = _described("Show the version of the API", "service", "version") | {
        "security": [],
        "responses": {"200": {"description": "The version.", "content": content}},
    }
    return _with_problems(described, api_url)


def _health(summary: str, operation_id: str, status: str, unready: bool) -> Callable[[str], Operation]:
    def make(api_url: str) -> Operation:
        responses: dict[str, Any] = {
            "200": {"description": "Yes.", "content": _json("health", {"status": status})}
        }
        if unready:
            example = {"status": "unready", "reason": "The database is locked"}
            responses["503"] = {"description": "No.", "content": _json("health", example)}
        described = _described(summary, "service", operation_id)
        described |= {"security": [], "responses": responses}
        return _with_problems(described, api_url)

    return make


SERVICE_OPERATIONS: dict[tuple[str, str], Callable[[str], Operation]] = {
    ("POST", "/v1/oauth/token"): _token,
    ("POST", "/v1/oauth/revoke"): _revoke,
    ("GET", "/v1/me"): _me,
    ("GET", "/v1/version"): _version,
    ("GET", "/livez"): _health("Say whether the process serves", "livez", "live", unready=False),
    ("GET", "/readyz"): _health(
        "Say whether the database answers with the right schema", "readyz", "ready", unready=True
    ),
}
