"""Scrubs beside the writes, where a database lets these go on meanwhile: once at a time, for all who wait."""

import asyncio
import time

from rollbook.storage.faults import Unavailable
from rollbook.storage.workers import Job, settle
from rollbook.storage.writing import Writer, scrub


class Scrubber:
    """What has a database scrubbed for the loop that runs, on a thread, by a `writer` of its own.

    Who asks while a scrub is under way waits for the next: that one may have passed by what they deleted. Who
    goes away meanwhile takes it from nobody else. `limit` is how many may wait.
    """

    def __init__(self, writer: Writer, limit: int) -> None:
        self._writer = writer
        self._limit = limit
        self._waiting: list[Job] = []
        self._under_way: asyncio.Task[None] | None = None
        self._is_closed = False

    def submit(self) -> "asyncio.Future[None]":
        """Return the future of a scrub that has yet to begin; raise Unavailable where too many wait."""
        if self._is_closed or len(self._waiting) >= self._limit:
            raise Unavailable("Too many requests wait for the database.")
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(Job(scrub, None, future, time.monotonic()))
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._scrub())
        return future

    async def stop(self) -> None:
        """Finish what waits; what comes later is refused."""
        self._is_closed = True
        if self._under_way is not None:
            await self._under_way

    async def _scrub(self) -> None:
        while self._waiting:
            jobs, self._waiting = self._waiting, []
            settle(jobs, await asyncio.to_thread(self._writer.scrub, jobs))
