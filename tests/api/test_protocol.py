"""Proves whose turn it is on a connection, and that what waits for nobody is answered at once."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from uvicorn.server import ServerState

from rollbook.api.http import Answer, Request
from rollbook.api.protocol import Protocol
from rollbook.settings import Settings

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.answered: list[bytes] = []
        self.is_read = True
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.answered.append(bytes(data).rpartition(b"\r\n\r\n")[2])

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True


async def path_at_once(request: Request, send: Callable[[Answer], None]) -> None:
    """Answer the path of a request."""
    send(Answer(200, request.path.encode()))


def connected(serve: Any) -> tuple[Protocol, Wire]:
    """Return a connection within the running loop, and its wire."""
    wire = Wire()
    protocol = Protocol(ServerState(), serve, Settings(), lambda _: None, asyncio.get_running_loop())
    protocol.connection_made(wire)
    return protocol, wire


def test_of_many_requests_sent_at_once_one_is_answered_in_each_turn() -> None:
    async def main() -> None:
        protocol, wire = connected(path_at_once)
        protocol.data_received(b"".join(GET % number for number in range(3)))
        assert (wire.answered, wire.is_read) == ([b"/0"], False)
        await asyncio.sleep(0)
        assert (wire.answered, wire.is_read) == ([b"/0", b"/1"], False)
        await asyncio.sleep(0)
        assert (wire.answered, wire.is_read) == ([b"/0", b"/1", b"/2"], True)

    asyncio.run(main())


def test_nothing_further_is_answered_while_the_client_reads_no_answers() -> None:
    async def main() -> None:
        protocol, wire = connected(path_at_once)
        protocol.pause_writing()
        protocol.data_received(GET % 1)
        await asyncio.sleep(0)
        assert wire.answered == []
        protocol.resume_writing()
        await asyncio.sleep(0)
        assert wire.answered == [b"/1"]

    asyncio.run(main())


def test_what_waits_is_answered_later_and_in_order() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        stored = loop.create_future()

        async def serve(request: Request, send: Callable[[Answer], None]) -> None:
            if request.path == "/0":
                await stored
            await path_at_once(request, send)

        protocol, wire = connected(serve)
        protocol.data_received(GET % 0 + GET % 1)
        await asyncio.sleep(0)
        assert wire.answered == []
        stored.set_result(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert wire.answered == [b"/0", b"/1"]

    asyncio.run(main())


def test_an_error_that_nobody_expects_closes_the_connection() -> None:
    async def fail(_request: Request, _send: Callable[[Answer], None]) -> None:
        raise MemoryError

    async def main() -> None:
        protocol, wire = connected(fail)
        with pytest.raises(MemoryError):
            protocol.data_received(GET % 0)
        assert wire.is_closed

    asyncio.run(main())
