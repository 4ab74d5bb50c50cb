"""Entity tags: whether a client has, or expects, the present form of a resource (RFC 9110, section 8.8.3)."""

import hashlib
import re
from collections.abc import Callable

from rollbook.api.calls import Call
from rollbook.api.http import Answer, Request
from rollbook.jsonapi.resource import Record
from rollbook.jsonapi.writing import resource_document
from rollbook.register.resource import Resource

TAG_BYTES = 12
# The second part of the tag of a compound document; what is included does not stand in a change's way.
SECOND_PART = re.compile(rb'-[0-9a-f]+"$')


def of(body: bytes, compound: bytes | None = None) -> bytes:
    """Return the strong entity tag of a resource's document; that of a compound one has two parts."""
    digest = _digest(body) if compound is None else f"{_digest(body)}-{_digest(compound)}"
    return f'"{digest}"'.encode()


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=TAG_BYTES).hexdigest()


def header(body: bytes) -> tuple[bytes, bytes]:
    """Return the header that names the tag of a document."""
    return b"etag", of(body)


def answer(request: Request, body: bytes, tag: bytes) -> Answer:
    """Answer a document with its tag, or that the client has it."""
    known = request.header(b"if-none-match")
    if known is not None and (known.strip() == b"*" or tag in _tags(known)):
        return Answer(304, b"", b"", ((b"etag", tag),))
    return Answer(200, body, headers=((b"etag", tag),))


def if_match(call: Call, resource: Resource) -> Callable[[Record], bool] | None:
    """Return what tells whether a resource is as `If-Match` expects, or None where nothing is expected."""
    expected = call.request.header(b"if-match")
    if expected is None or expected.strip() == b"*":
        return None
    tags = {tag for tag in expected.split(b",") if not tag.strip().startswith(b"W/")}
    wanted = {SECOND_PART.sub(b'"', tag.strip()) for tag in tags}
    api_url = call.house.api_url
    return lambda record: of(resource_document(resource.type, record, api_url)) in wanted


def _tags(sent: bytes) -> set[bytes]:
    """Return the tags of a list; for reading, weak ones count as strong."""
    return {tag.strip().removeprefix(b"W/") for tag in sent.split(b",")}
