"""A request as it arrives and an answer as it leaves, whatever server carries them."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

import orjson

from rollbook.jsonapi.errors import Refusal, refuse

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

JSON_API = b"application/vnd.api+json"
PLAIN_JSON = b"application/json"


class ClientGone(Exception):
    """The client has closed the connection; nobody is left to be answered."""


class Answer(NamedTuple):
    """An answer: a status, a media type (empty without a body), a body, further headers."""

    status: int
    body: bytes
    media_type: bytes = JSON_API
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Request:
    """A request of ASGI: what its head says, and its body on demand.

    `answer_headers` are those that its answer shall have, whichever it will be.
    """

    __slots__ = (
        *("_headers", "_receive", "answer_headers", "client", "method", "path", "query", "request_id"),
    )

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        client = scope.get("client")
        self.client: str = client[0] if client else ""
        self.request_id = ""
        self.answer_headers: Headers = ()
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._receive = receive

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of a name in lower case."""
        for each, value in self._headers:
            if each == name:
                return value
        return None

    async def body(self, limit: int) -> bytes:
        """Read the body; raise Refused for one of more than `limit` bytes, announced or streamed.

        Raises ClientGone where the client closes before its end.
        """
        announced = self.header(b"content-length")
        if announced is not None and int(announced) > limit:
            raise refuse(Refusal.BODY_TOO_LARGE, limit=str(limit))
        body = b""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part: bytes = message.get("body", b"")
            body += part
            if len(body) > limit:
                raise refuse(Refusal.BODY_TOO_LARGE, limit=str(limit))
            if not message.get("more_body"):
                return body


def json_answer(
    status: int,
    document: Any,
    media_type: bytes = JSON_API,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> Answer:
    """Return the answer that carries a document."""
    return Answer(status, orjson.dumps(document), media_type, headers)


def json_bytes(document: Any) -> bytes:
    """Return a document as it is sent."""
    return orjson.dumps(document)
