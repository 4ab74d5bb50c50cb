"""HTTP/1.1 by uvicorn and httptools, with what they leave out: deadlines and a limit for the head."""

import asyncio
import re
from collections.abc import Callable, Sized
from typing import Any

import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from rollbook.jsonapi.errors import Problem, Refusal, error_document
from rollbook.observations import ConnectionRefused, Observe
from rollbook.settings import Settings

SWEEP_SECONDS = 0.5
UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


class HeadTooLarge(Exception):
    """The head of a request is larger than the limit."""


class Flow(FlowControl):
    """Flow control that reads no further while pipelined requests wait: they would fill the memory."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Read on, unless requests wait."""
        if not self._waiting:
            super().resume_reading()


class Protocol(HttpToolsProtocol):
    """One connection. `deadline` is when what the client is sending must have come, in the loop's time."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        settings: Settings,
        observe: Observe,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._settings = settings
        self._observe = observe
        self._in_head = True
        self._head_bytes = 0
        self.deadline: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, unless there are too many."""
        super().connection_made(transport)
        self.flow = Flow(transport, self.pipeline)
        self.deadline = self.loop.time() + self._settings.header_seconds
        if len(self.connections) > self._settings.max_connections:
            self._refuse(Refusal.UNAVAILABLE, retry_after=1)

    def data_received(self, data: bytes) -> None:
        """Take bytes; a head that grows without an end is refused before it is whole."""
        if self.transport.is_closing():
            return
        if self._in_head:
            if b"pgrade" in data:
                data = _without_upgrade(data)
            self._head_bytes += len(data)
            if self.deadline is None:
                self.deadline = self.loop.time() + self._settings.header_seconds
        super().data_received(data)
        if self._in_head and self._head_bytes > self._settings.max_header_bytes:
            self._refuse_head_too_large()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Answer a client that has sent all and closed its half; close with it otherwise."""
        if self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body:
            self.cycle.keep_alive = False
            return True
        return None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer, which comes after a body, is none and is dropped (RFC 9110, 6.5.1)."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin the request, unless its head is too large."""
        # What has come may be more than the head; only then are its parts worth counting.
        if self._head_bytes > self._settings.max_header_bytes:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self._settings.max_header_bytes:
                raise HeadTooLarge
        self._in_head = False
        self.deadline = self.loop.time() + self._settings.body_seconds
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the request is whole; what comes next is another head."""
        super().on_message_complete()
        self._in_head = True
        self._head_bytes = 0
        self.deadline = None

    def _unsupported_upgrade_warning(self) -> None:
        # The parser reads nothing behind such a request: it is the connection's last.
        if self.cycle.response_complete:
            self.transport.close()
        self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words
        """Refuse what is not HTTP, or whose head is too large, in the words of the API."""
        if self._in_head and self._head_bytes > self._settings.max_header_bytes:
            self._refuse_head_too_large()
        else:
            self._refuse(Refusal.REQUEST_MALFORMED)

    def expire(self, moment: float) -> None:
        """Refuse the request that should have come by now."""
        if self.deadline is not None and moment > self.deadline:
            self._refuse(Refusal.HEAD_TOO_SLOW if self._in_head else Refusal.BODY_TOO_SLOW)

    def _refuse_head_too_large(self) -> None:
        self._refuse(Refusal.HEAD_TOO_LARGE, limit=str(self._settings.max_header_bytes))

    def _refuse(self, refusal: Refusal, retry_after: int | None = None, **words: str) -> None:
        """Answer and close, where nothing was answered yet; else only close."""
        self.deadline = None
        if self.transport.is_closing():
            return
        status = refusal.value.status
        self._observe(ConnectionRefused(refusal.name.lower(), status))
        answering = self.cycle is not None and not self.cycle.response_complete
        # A request whose body is still coming may have had its answer: refused by its head alone.
        answered = not self._in_head and self.cycle is not None and self.cycle.response_complete
        if not answered and not (answering and self.cycle.response_started):
            body = orjson.dumps(error_document([Problem(refusal, words=tuple(words.items()))], ""))
            retry = b"" if retry_after is None else b"retry-after: %d\r\n" % retry_after
            head = b"content-type: application/vnd.api+json\r\nconnection: close\r\ncontent-length: %d\r\n"
            self.transport.write(STATUS_LINE[status] + head % len(body) + retry + b"\r\n" + body)
        if answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()


def _without_upgrade(data: bytes) -> bytes:
    """Return the bytes of a head with an offer of another protocol made a header of no meaning.

    An offer may be ignored (RFC 9110, 7.8); left in, the parser would drop the body that follows.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return UPGRADE.sub(b"\r\nx-grade:", head) + end + rest


async def sweep(state: ServerState) -> None:
    """Expire requests that are late, for as long as the server runs.

    One look at every connection twice a second costs less than a timer for every request.
    """
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        moment = loop.time()
        for connection in list(state.connections):
            if isinstance(connection, Protocol):
                connection.expire(moment)


def protocol_factory(settings: Settings, observe: Observe) -> Callable[..., asyncio.Protocol]:
    """Return what uvicorn calls for each connection."""

    def protocol(
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> asyncio.Protocol:
        return Protocol(config, server_state, app_state, _loop, settings=settings, observe=observe)

    return protocol
