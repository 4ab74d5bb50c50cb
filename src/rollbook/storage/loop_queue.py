"""Reads that an event loop does itself: it asks, and goes on with others until the database answers."""

import asyncio
import math
import time
from collections.abc import Sequence

from rollbook.storage import on_loop
from rollbook.storage.reading_together import questions_of
from rollbook.storage.workers import Job, Outcome, Queue, Work, done_by, settle, split_late, too_late

# What takes longer than that to be answered may be slow, or lost, and nobody else waits for it.
LONGEST_HELD_SECONDS = 0.05


class LoopQueue(Queue):
    """Jobs that a loop does, as many at a time as there are works."""

    def __init__(self, limit: int, most: int, works: Sequence[Work]) -> None:
        super().__init__(limit, most)
        self._waiting: list[Job] = []
        self._held: list[Job] = []
        self._works = works
        self._idle = list(range(len(works)))
        self._under_way: dict[int, list[Job]] = {}
        self._began = [-math.inf for _ in works]
        self._timer: asyncio.TimerHandle | None = None
        self._is_beginning = False
        self._ended: asyncio.Future[None] | None = None

    def _count_waiting(self) -> int:
        return len(self._waiting) + len(self._held)

    def _put(self, jobs: list[Job]) -> None:
        self._waiting.extend(jobs)
        self._go_on()

    def _go_on(self) -> None:
        """Begin what waits, as far as there are works that are idle."""
        if self._is_beginning:
            return  # what has ended already, without a rest, makes room for the next
        self._is_beginning = True
        try:
            if self._waiting:
                late, self._waiting = split_late(self._waiting)
                settle(late, too_late(late))
            while self._waiting and self._idle:
                for jobs in self._taken():
                    self._begin(self._idle.pop(), jobs)
        finally:
            self._is_beginning = False
        if self._ended is not None and not self._under_way:
            if not self._ended.done():
                self._ended.set_result(None)
            self._ended = None

    def _taken(self) -> list[list[Job]]:
        """Take what waits and may begin, for each idle work a part: what is one question, in the same.

        Who asks the same as others who have just begun is held, and shares the next answer, unless those who
        are held are as many as can share one.
        """
        jobs, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        parts: list[list[Job]] = []
        then = time.monotonic() - LONGEST_HELD_SECONDS
        recent = [asked for at, asked in self._under_way.items() if self._began[at] > then]
        for question in questions_of(jobs):
            asking = [jobs[place] for place in question.places]
            has_room = len(self._held) + len(asking) <= self._most
            if has_room and any(any(map(question.is_like, each)) for each in recent):
                self._held += asking
            elif len(parts) < len(self._idle):
                parts.append(asking)
            else:
                min(parts, key=len).extend(asking)
        if self._held and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LONGEST_HELD_SECONDS, self._on_time)
        return parts

    def _on_time(self) -> None:
        self._timer = None
        self._hold_no_longer()

    def _hold_no_longer(self) -> None:
        if self._held:
            self._waiting = sorted(self._held + self._waiting, key=lambda job: job.since)
            self._held = []
        self._go_on()

    def _begin(self, at: int, jobs: list[Job]) -> None:
        self._under_way[at] = jobs
        self._began[at] = time.monotonic()

        def done(outcomes: Sequence[Outcome]) -> None:
            del self._under_way[at]
            self._idle.append(at)
            try:
                settle(jobs, outcomes)
            finally:
                self._hold_no_longer()

        on_loop.start(lambda: done_by(self._works[at], jobs), done)

    async def _end(self) -> None:
        if self._under_way:
            self._ended = asyncio.get_running_loop().create_future()
            await self._ended
        if self._timer is not None:
            self._timer.cancel()
