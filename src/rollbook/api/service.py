"""The routes that are no resource's: version, the caller's user, health, documentation."""

from pathlib import Path

from rollbook.api.calls import Call
from rollbook.api.http import PLAIN_JSON, Answer, json_answer
from rollbook.jsonapi.errors import Refusal, refuse
from rollbook.register import users
from rollbook.storage.faults import StorageError

SPECIFICATION = "https://jsonapi.org/format/"
STATIC = Path(__file__).parent / "static"
PAGES = {
    "": ("docs.html", b"text/html; charset=utf-8"),
    "docs.css": ("docs.css", b"text/css; charset=utf-8"),
    "docs.js": ("docs.js", b"text/javascript; charset=utf-8"),
}
# The page runs its own script and talks to its own server; nothing else.
PAGE_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


async def version(call: Call) -> Answer:
    """Answer which API this is; it is the contract's version, not the program's."""
    document = {
        "meta": {"title": "Contacts API V1", "version": "1.1.0"},
        "links": {"documentation": call.house.base_url + "/docs"},
        # The second spelling is the published one; clients of the original may read either.
        "jsonapi": {"version": "v1.1", "specification": SPECIFICATION, "specficiation": SPECIFICATION},
    }
    return json_answer(200, document)


async def me(call: Call) -> Answer:
    """Answer the user that the caller's key belongs to."""
    user = await call.house.database.read(users.user, call.caller.user_id)
    if user is None:
        raise refuse(Refusal.NOT_FOUND)
    data = {"id": str(user.id), "type": "users", "attributes": user.attributes()}
    return json_answer(200, {"data": data})


async def livez(_call: Call) -> Answer:
    """Answer that the process serves."""
    return json_answer(200, {"status": "live"}, PLAIN_JSON)


async def readyz(call: Call) -> Answer:
    """Answer whether the database answers and has the schema of this program."""
    try:
        await call.house.database.ready()
    except StorageError as error:
        return json_answer(503, {"status": "unready", "reason": str(error)}, PLAIN_JSON)
    return json_answer(200, {"status": "ready"}, PLAIN_JSON)


async def openapi(call: Call) -> Answer:
    """Answer the description of this API (OpenAPI 3.1)."""
    return json_answer(200, call.house.describe(), PLAIN_JSON)


async def docs(call: Call) -> Answer:
    """Answer the interactive documentation, a page that needs nothing from elsewhere."""
    if call.id not in PAGES:
        raise refuse(Refusal.NOT_FOUND)
    name, media_type = PAGES[call.id]
    return Answer(200, (STATIC / name).read_bytes(), media_type, PAGE_HEADERS)
