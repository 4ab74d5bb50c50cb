"""OAuth 2.0 (RFC 6749): tokens for client credentials, refresh tokens and passwords; their end (RFC 7009)."""

import base64
import binascii
import io
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote_plus

import orjson
from python_multipart import parse_form
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field

from rollbook.api.calls import Call
from rollbook.api.http import PLAIN_JSON, Answer, Request, json_answer
from rollbook.register import users
from rollbook.register.tokens import (
    ACCESS_SECONDS,
    Credentials,
    GrantRefused,
    Pair,
    grant_many,
    grant_to_users,
    refresh_many,
    revoke_many,
)

if TYPE_CHECKING:
    from rollbook.api.passwords import PasswordDesk

NO_STORE = ((b"cache-control", b"no-store"),)

WRONG_CLIENT = (401, "Invalid client credentials")
WRONG_REFRESH_TOKEN = (401, "Invalid refresh token")
WRONG_PASSWORD = (401, "Invalid username or password")
PARAMETERS_MISSING = (400, "Missing required parameters")
GRANT_UNSUPPORTED = (400, "Unsupported grant type")


async def token(call: Call) -> Answer:
    """Answer a token request; its errors are flat objects, not JSON:API's."""
    given = _parameters(call.request, call.body)
    grant = given.get("grant_type") or _implied_grant(given)
    database = call.house.database
    if grant == "client_credentials":
        credentials = Credentials(given.get("client_id", ""), given.get("client_secret", ""))
        if not (credentials.client_id and credentials.client_secret):
            return _error(PARAMETERS_MISSING)
        try:
            return _granted(await database.write(grant_many, credentials))
        except GrantRefused:
            return _error(WRONG_CLIENT)
    if grant == "refresh_token":
        if not given.get("refresh_token"):
            return _error(PARAMETERS_MISSING)
        try:
            return _granted(await database.write(refresh_many, given["refresh_token"]))
        except GrantRefused:
            return _error(WRONG_REFRESH_TOKEN)
    if grant == "password" and call.house.passwords is not None:
        return await _by_password(call, call.house.passwords, given)
    return _error(GRANT_UNSUPPORTED if grant else PARAMETERS_MISSING)


async def revoke(call: Call) -> Answer:
    """End the pair of the token in the body, access or refresh; an unknown one is no error (RFC 7009)."""
    which = _parameters(call.request, call.body).get("token")
    if not which:
        return _error(PARAMETERS_MISSING)
    await call.house.database.write(revoke_many, which)
    return Answer(200, b"", b"")


async def _by_password(call: Call, desk: "PasswordDesk", given: dict[str, str]) -> Answer:
    """Answer a user's e-mail and password; whether there is such a user cannot be told by text or time."""
    username, password = given.get("username"), given.get("password")
    if not (username and password):
        return _error(PARAMETERS_MISSING)
    database = call.house.database
    user = await database.glance(users.with_email, username)
    if not await desk.fits(user and user.password_hash, password) or user is None:
        return _error(WRONG_PASSWORD)
    try:
        return _granted(await database.write(grant_to_users, user))
    except GrantRefused:
        return _error(WRONG_PASSWORD)


def _implied_grant(given: dict[str, str]) -> str:
    """Return the grant that a request without `grant_type` means, as clients of the original send it."""
    if given.get("refresh_token"):
        return "refresh_token"
    return "password" if given.get("username") and given.get("password") else ""


def _granted(pair: Pair) -> Answer:
    document = {
        "access_token": pair.access_token,
        "refresh_token": pair.refresh_token,
        "token_type": "Bearer",
        "expires_in": ACCESS_SECONDS,
    }
    return json_answer(200, document, PLAIN_JSON, NO_STORE)


def _error(what: tuple[int, str]) -> Answer:
    status, error = what
    return json_answer(status, {"error": error}, PLAIN_JSON, NO_STORE)


def _parameters(request: Request, body: bytes) -> dict[str, str]:
    """Return the parameters of a body that is a form, JSON or multipart, and those of HTTP Basic."""
    media_type = (request.header(b"content-type") or b"").lower()
    if media_type.startswith(b"multipart/form-data"):
        given = _of_multipart(request, body)
    elif media_type.startswith(b"application/x-www-form-urlencoded") or not body.lstrip().startswith(b"{"):
        given = dict(parse_qsl(body.decode("utf-8", "replace")))
    else:
        given = _of_json(body)
    return {**_of_basic(request), **given}


def _of_json(body: bytes) -> dict[str, str]:
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return {name: str(value) for name, value in document.items() if isinstance(value, (str, int))}


def _of_multipart(request: Request, body: bytes) -> dict[str, str]:
    given: dict[str, str] = {}

    def keep(field: Any) -> None:
        if isinstance(field, Field) and field.field_name is not None:
            given[field.field_name.decode("utf-8", "replace")] = (field.value or b"").decode(
                "utf-8", "replace"
            )

    headers = {"Content-Type": request.header(b"content-type") or b""}
    try:
        parse_form(headers, io.BytesIO(body), keep, lambda _file: None)
    except (FormParserError, ValueError):
        return {}
    return given


def _of_basic(request: Request) -> dict[str, str]:
    """Return the client's id and secret from HTTP Basic (RFC 6749, section 2.3.1)."""
    scheme, _, encoded = (request.header(b"authorization") or b"").partition(b" ")
    if scheme.lower() != b"basic":
        return {}
    try:
        decoded = base64.b64decode(encoded, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return {}
    client_id, _, client_secret = decoded.partition(":")
    return {"client_id": unquote_plus(client_id), "client_secret": unquote_plus(client_secret)}
