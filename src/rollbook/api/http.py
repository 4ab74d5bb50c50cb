"""A request as it arrives and an answer as it leaves, whatever server carries them."""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from rollbook.jsonapi.errors import Refusal, refuse

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
    headers: Headers = ()


class Request:
    """A request: what its head says, and its body on demand.

    `headers` has the first of each name, in lower case. `answer_headers` are those that its answer shall
    have, whichever it will be. `keep_alive` says that the connection may live on after it, `is_whole` that
    all of it has come, `is_answered` that nobody waits for its body any more.
    """

    __slots__ = (
        *("_arrival", "_body", "_is_abandoned", "_limit", "answer_headers", "ask_for_body", "client"),
        "has_large_numbers",
        *("headers", "is_answered", "is_whole", "keep_alive", "method", "path", "query", "request_id"),
    )

    def __init__(
        self, method: str, path: str, query: bytes, headers: dict[bytes, bytes], client: str, limit: int
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.client = client
        self.request_id = ""
        self.answer_headers: Headers = ()
        self.keep_alive = True
        self.is_whole = False
        self.is_answered = False
        self.has_large_numbers = False
        self.ask_for_body: Callable[[], None] | None = None
        self._limit = limit
        self._body = bytearray()
        self._arrival: asyncio.Future[None] | None = None
        self._is_abandoned = False

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of a name in lower case."""
        return self.headers.get(name)

    async def body(self) -> bytes:
        """Read the body; raise Refused for one beyond the limit, announced or streamed.

        Raises ClientGone where the client closes before its end.
        """
        announced = self.headers.get(b"content-length")
        if announced is not None and int(announced) > self._limit:
            raise refuse(Refusal.BODY_TOO_LARGE, limit=str(self._limit))
        while not self.is_whole and len(self._body) <= self._limit:
            if self._is_abandoned:
                raise ClientGone
            if self.ask_for_body is not None:
                self.ask_for_body()
                self.ask_for_body = None
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        return self.whole_body

    @property
    def whole_body(self) -> bytes:
        """The body that has come; raises Refused for one beyond the limit."""
        if len(self._body) > self._limit:
            raise refuse(Refusal.BODY_TOO_LARGE, limit=str(self._limit))
        return bytes(self._body)

    def take(self, part: bytes) -> None:
        """Take a part of the body; no more is kept than tells that it is too large."""
        if not self.is_answered and len(self._body) <= self._limit:
            self._body += part
            if len(self._body) > self._limit:
                self._awake()

    def end(self) -> None:
        """Note that the body is whole."""
        self.is_whole = True
        self._awake()

    def abandon(self) -> None:
        """Note that no more of it will come."""
        self._is_abandoned = True
        self._awake()

    def _awake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


def json_answer(
    status: int,
    document: Any,
    media_type: bytes = JSON_API,
    headers: Headers = (),
) -> Answer:
    """Return the answer that carries a document."""
    return Answer(status, orjson.dumps(document), media_type, headers)


def json_bytes(document: Any) -> bytes:
    """Return a document as it is sent."""
    return orjson.dumps(document)
