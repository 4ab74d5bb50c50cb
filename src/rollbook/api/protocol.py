"""HTTP/1.1 on httptools' parser: one connection, its requests in their order, its deadlines and limits.

A protocol of our own, because what it leaves out is half of a read's time: an answer that needs nobody else
is made and written while its request is being taken, without a task or an event, and in one piece.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, cast
from urllib.parse import unquote

import httptools
import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.protocols.utils import get_remote_addr
from uvicorn.server import ServerState

from rollbook.api.http import Answer, Request
from rollbook.jsonapi.errors import Problem, Refusal, error_document
from rollbook.observations import ConnectionRefused, Observe
from rollbook.settings import Settings

SWEEP_SECONDS = 0.5
UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
ENCODED_SLASH = re.compile("%2f", re.IGNORECASE)
# Answers whose length is none of theirs (RFC 9110, section 8.6).
BODILESS = frozenset({204, 304})

# Answers a request by the function that it is given; what it awaits are futures.
Serve = Callable[[Request, Callable[[Answer], None]], Coroutine[Any, Any, None]]


class HeadTooLarge(Exception):
    """The head of a request is larger than the limit."""


class Protocol(asyncio.Protocol):
    """One connection.

    `deadline` is when what the client is sending must have come, in the loop's time. Requests wait their
    turn in `_waiting`, `_current` is being answered, and `_newest` is the last whose head has come.
    """

    def __init__(
        self,
        state: ServerState,
        serve: Serve,
        settings: Settings,
        observe: Observe,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._state = state
        self._serve = serve
        self._settings = settings
        self._observe = observe
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        # What follows a request that ends its connection must not keep that one from its answer.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._transport = cast("asyncio.Transport", None)
        self._client = ""
        self._waiting: deque[Request] = deque()
        self._current: Request | None = None
        self._newest: Request | None = None
        self._is_reading = self._may_write = True
        self._is_due = False
        self._in_head = True
        self._head_bytes = 0
        self.deadline: float | None = None
        self._late: Refusal | None = None

    # The transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, unless there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        self._state.connections.add(self)  # type: ignore[arg-type]
        self._client = (get_remote_addr(self._transport) or ("", 0))[0]
        self._expect(self._settings.header_seconds, Refusal.HEAD_TOO_SLOW)
        if len(self._state.connections) > self._settings.max_connections:
            self._refuse(Refusal.UNAVAILABLE, retry_after=1)

    def data_received(self, data: bytes) -> None:
        """Take bytes; a head that grows without an end is refused before it is whole."""
        if self._transport.is_closing():
            return
        if self._in_head:
            if b"pgrade" in data:
                data = _without_upgrade(data)
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The parser reads nothing behind such a request: it is the connection's last.
            if self._newest is not None:
                self._newest.keep_alive = False
        except httptools.HttpParserError:
            self._refuse_head()
            return
        if self._in_head and self._head_bytes > self._settings.max_header_bytes:
            self._refuse_head()
            return
        if not self._in_head:
            self._expect_once(self._settings.body_seconds, Refusal.BODY_TOO_SLOW)
        elif self._head_bytes:
            self._expect_once(self._settings.header_seconds, Refusal.HEAD_TOO_SLOW)
        self._proceed()

    def eof_received(self) -> bool:
        """Answer a client that has sent all and closed its half; close with it otherwise."""
        if self._newest is None or self._newest.is_answered or not self._newest.is_whole:
            return False
        self._newest.keep_alive = False
        return True

    def connection_lost(self, _error: Exception | None) -> None:
        """Let go of everything; what a request has begun is finished, for nobody."""
        self._state.connections.discard(self)
        self._abandon()
        del self._parser  # it holds this connection, and both would wait for a collection

    def pause_writing(self) -> None:
        """Begin no further request while the client does not read its answers."""
        self._may_write = False

    def resume_writing(self) -> None:
        """Go on with the requests that wait, though not within the write that told so."""
        self._may_write = True
        self._proceed_later()

    # The parser.

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._size = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer, which comes after a body, is none and is dropped (RFC 9110, 6.5.1)."""
        if self._in_head:
            self._size += len(name) + len(value) + 4
            self._headers.setdefault(name.lower(), value)

    def on_headers_complete(self) -> None:
        """Put the request in line, unless its head is too large."""
        # What has come may be more than the head; only then do its parts count.
        limit = self._settings.max_header_bytes
        if self._head_bytes > limit and len(self._url) + self._size > limit:
            raise HeadTooLarge
        target = httptools.parse_url(self._url)
        path = target.path.decode("ascii")
        request = Request(
            self._parser.get_method().decode("ascii"),
            _decoded(path) if "%" in path else path,
            target.query or b"",
            self._headers,
            self._client,
            self._settings.max_body_bytes,
        )
        request.keep_alive = self._parser.get_http_version() != "1.0" and self._parser.should_keep_alive()
        if self._headers.get(b"expect", b"").lower() == b"100-continue":
            request.ask_for_body = partial(self._transport.write, b"HTTP/1.1 100 Continue\r\n\r\n")
        self._newest = request
        self._waiting.append(request)
        self._in_head = False

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if self._newest is not None:
            self._newest.take(body)

    def on_message_complete(self) -> None:
        """Note that the request is whole; what comes next is another head."""
        if self._newest is not None:
            self._newest.end()
        self._in_head = True
        self._head_bytes = 0
        self.deadline = self._late = None

    # The requests.

    def _proceed(self) -> None:
        """Answer the next request, as far as that needs nobody else."""
        if self._transport.is_closing():
            return
        if self._waiting and self._current is None and self._may_write:
            request = self._current = self._waiting.popleft()
            self._step(self._serve(request, partial(self._finish, request)))
            if self._waiting and self._current is None:
                self._proceed_later()
        # Requests that wait would fill the memory, were more of them read.
        if self._is_reading is bool(self._waiting) and not self._transport.is_closing():
            self._is_reading = not self._waiting
            (self._transport.resume_reading if self._is_reading else self._transport.pause_reading)()
        if self.deadline is None and self._current is None and not self._waiting and self._in_head:
            self._expect(self._settings.idle_seconds, None)

    def _proceed_later(self) -> None:
        """Go on in the loop's next turn: who sends many requests at once must not hold others up."""
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._proceed_now)

    def _proceed_now(self) -> None:
        self._is_due = False
        self._proceed()

    def _step(self, answering: Coroutine[Any, Any, None]) -> None:
        """Go on answering up to the next wait, if there is one: most reads have none, and need no task."""
        try:
            awaited = answering.send(None)
        except StopIteration:
            return
        except BaseException:
            self._transport.close()
            raise
        # As a task does, so that others may wait for the same future.
        awaited._asyncio_future_blocking = False
        awaited.add_done_callback(partial(self._resume, answering))

    def _resume(self, answering: Coroutine[Any, Any, None], _awaited: Any) -> None:
        self._step(answering)
        self._proceed()

    def _finish(self, request: Request, answer: Answer) -> None:
        """Write an answer; the next request may be answered then."""
        request.is_answered = True
        self._current = None
        self._state.total_requests += 1
        if self._transport.is_closing():
            return
        self._transport.write(self._message(request, answer))
        if not request.keep_alive:
            self._transport.close()

    def _message(self, request: Request, answer: Answer) -> bytes:
        """Return an answer as it goes over the wire."""
        status, body, media_type, more = answer
        head = b""
        for header in (*self._state.default_headers, *request.answer_headers, *more):
            head += b"%b: %b\r\n" % header
        if status not in BODILESS:
            head += b"content-length: %d\r\n" % len(body)
        if media_type:
            head += b"content-type: %b\r\n" % media_type
        if not request.keep_alive:
            head += b"connection: close\r\n"
        return b"%bx-request-id: %b\r\n%b\r\n%b" % (
            STATUS_LINE[status],
            request.request_id.encode(),
            head,
            b"" if request.method == "HEAD" else body,
        )

    # What ends a connection.

    def shutdown(self) -> None:
        """Close once what has come is answered."""
        if self._newest is None or self._newest.is_answered:
            self._transport.close()
        else:
            self._newest.keep_alive = False

    def expire(self, moment: float) -> None:
        """Refuse the request that should have come by now, or close a connection that is not used."""
        if self.deadline is not None and moment > self.deadline:
            if self._late is None:
                self._transport.close()
            else:
                self._refuse(self._late)

    def _expect(self, seconds: float, late: Refusal | None) -> None:
        """Give the client so long to send what comes next; `late` is what it is told otherwise, if at all."""
        self.deadline = self._loop.time() + seconds
        self._late = late

    def _expect_once(self, seconds: float, late: Refusal) -> None:
        """The same, but once: the time is that since it was expected first."""
        if self._late is not late:
            self._expect(seconds, late)

    def _refuse_head(self) -> None:
        limit = self._settings.max_header_bytes
        if self._in_head and self._head_bytes > limit:
            self._refuse(Refusal.HEAD_TOO_LARGE, limit=str(limit))
        else:
            self._refuse(Refusal.REQUEST_MALFORMED)

    def _refuse(self, refusal: Refusal, retry_after: int | None = None, **words: str) -> None:
        """Answer and close, where nothing was answered yet; else only close."""
        self.deadline = None
        if self._transport.is_closing():
            return
        status = refusal.value.status
        self._observe(ConnectionRefused(refusal.name.lower(), status))
        # A request whose body is still coming may have had its answer: refused by its head alone.
        if self._in_head or self._newest is None or not self._newest.is_answered:
            body = orjson.dumps(error_document([Problem(refusal, words=tuple(words.items()))], ""))
            retry = b"" if retry_after is None else b"retry-after: %d\r\n" % retry_after
            head = b"content-type: application/vnd.api+json\r\nconnection: close\r\ncontent-length: %d\r\n"
            self._transport.write(STATUS_LINE[status] + head % len(body) + retry + b"\r\n" + body)
        self._abandon()
        self._transport.close()

    def _abandon(self) -> None:
        self._waiting.clear()
        for request in (self._current, self._newest):
            if request is not None:
                request.abandon()


def _decoded(path: str) -> str:
    """Return a path decoded, but for its encoded slashes, which do not part it (RFC 3986, section 2.2)."""
    return "%2F".join(map(unquote, ENCODED_SLASH.split(path)))


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


def protocol_factory(serve: Serve, settings: Settings, observe: Observe) -> Callable[..., asyncio.Protocol]:
    """Return what uvicorn calls for each connection."""

    def protocol(
        config: Config,  # noqa: ARG001 - uvicorn's signature
        server_state: ServerState,
        app_state: dict[str, Any],  # noqa: ARG001
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> asyncio.Protocol:
        return Protocol(server_state, serve, settings, observe, _loop or asyncio.get_running_loop())

    return protocol
