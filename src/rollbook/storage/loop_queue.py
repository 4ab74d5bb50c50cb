"""Reads that an event loop does itself: it asks, and goes on with others until the database answers."""

import asyncio
from collections.abc import Sequence

from rollbook.storage import on_loop
from rollbook.storage.workers import Job, Outcome, Queue, Work, done_by, settle, split_late, too_late


class LoopQueue(Queue):
    """Jobs that a loop does, as many at a time as there are works."""

    def __init__(self, limit: int, most: int, works: Sequence[Work]) -> None:
        super().__init__(limit, most)
        self._waiting: list[Job] = []
        self._idle = list(works)
        self._count_works = len(works)
        self._ended: asyncio.Future[None] | None = None

    def _count_waiting(self) -> int:
        return len(self._waiting)

    def _put(self, jobs: list[Job]) -> None:
        self._waiting.extend(jobs)
        self._go_on()

    def _go_on(self) -> None:
        """Begin what waits, as far as there are works that are idle."""
        if self._waiting:
            late, self._waiting = split_late(self._waiting)
            settle(late, too_late(late))
        while self._waiting and self._idle:
            self._begin(self._idle.pop())
        if self._ended is not None and len(self._idle) == self._count_works:
            self._ended.set_result(None)

    def _begin(self, work: Work) -> None:
        jobs, self._waiting = self._waiting[: self._most], self._waiting[self._most :]

        def done(outcomes: Sequence[Outcome]) -> None:
            settle(jobs, outcomes)
            self._idle.append(work)
            self._go_on()

        on_loop.start(lambda: done_by(work, jobs), done)

    async def _end(self) -> None:
        if self._waiting or len(self._idle) < self._count_works:
            self._ended = asyncio.get_running_loop().create_future()
            await self._ended
