"""The application within the tests' own process, beside a running server, so that what a request costs is seen."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from rollbook.api.application import Application
from rollbook.api.calls import House
from rollbook.api.http import Answer, Request
from rollbook.register.catalogue import RESOURCES
from rollbook.settings import Settings
from rollbook.storage.database import Database
from rollbook.storage.opening import open_database
from rollbook.storage.statements import Statement
from rollbook.storage.transactions import Snapshot, Transaction
from support import RunningServer

Cost = list[str]


class Inside:
    """Answers requests as the server does, on the same file, and notes all that is done with the database."""

    def __init__(self, server: RunningServer, steps: Cost) -> None:
        self._steps = steps
        self._database = open_database(server.database_url)
        self._loop = asyncio.new_event_loop()
        house = House(self._database, RESOURCES, server.url, lambda _: None, dict)
        self._application = Application(Settings(), house)
        self._loop.run_until_complete(self._start())

    async def _start(self) -> None:
        self._database.start(max_waiting=100)

    def close(self) -> None:
        """Let go of the file."""
        self._loop.run_until_complete(self._database.stop())
        self._loop.close()

    def cost(
        self, token: str | None, method: str, target: str, document: Any, headers: Mapping[str, str]
    ) -> tuple[int, Cost]:
        """Return the status of an answer, and every statement, read and write that it took, in order."""
        path, _, query = target.partition("?")
        sent = {b"authorization": f"Bearer {token}".encode()}
        sent |= {name.lower().encode(): value.encode() for name, value in headers.items()}
        request = Request(method, path, query.encode(), sent, "127.0.0.1", Settings().max_body_bytes)
        request.take(b"" if document is None else json.dumps(document).encode())
        request.end()
        answers: list[Answer] = []
        self._steps.clear()
        self._loop.run_until_complete(self._application.serve(request, answers.append))
        return answers[0].status, list(self._steps)


@contextmanager
def inside(server: RunningServer) -> Iterator[Inside]:
    """Answer within this process for a while."""
    steps: Cost = []
    with pytest.MonkeyPatch.context() as patch:
        for of, name in (
            (Snapshot, "rows"), (Transaction, "insert"), (Database, "read"), (Database, "write"), (Database, "glance"),
            (Database, "glance_or_read"),
        ):  # fmt: skip
            patch.setattr(of, name, _noting(getattr(of, name), name, steps))
        made = Inside(server, steps)
        yield made
        made.close()


def _noting(do: Any, name: str, steps: Cost) -> Any:
    def noted(self: Any, what: Any, *more: Any, **named: Any) -> Any:
        if isinstance(what, Statement):
            steps.append(what.compiled(self._dialect)[0])
        else:
            steps.append(f"{name} {getattr(what, '__qualname__', type(what).__name__)}")
        return do(self, what, *more, **named)

    return noted
