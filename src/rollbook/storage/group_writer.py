"""Writes that wait together are a group, which is done at once; one group is under way at a time."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from rollbook.storage.faults import Unavailable
from rollbook.storage.workers import Job, Outcome, finished, settle, split_late, too_late
from rollbook.storage.writing import (
    MOST_SHORT_WRITES_TOGETHER,
    MOST_WRITES_TOGETHER,
    Writer,
)

# In one turn of the loop the answers of a group are written, in the next their clients ask for more (uvloop
# takes what has come before it calls what shall be called soon; asyncio's own loop does after it).
TURNS_AFTER_ANSWERS = 2
# What turns may take for themselves, and for each job that was answered or heard in them. Where they take
# longer, the loop is busy with those who read, for whom those who write need not wait.
TURN_SECONDS, JOB_SECONDS = 0.001, 0.0001


class GroupWriter(ABC):
    """The writer of a database, which an event loop gives jobs.

    The next group begins once a turn of the loop brings nobody more who would join it: a COMMIT costs as much
    as several creates, and many who write at once are then one group, not two that take turns. Where the loop
    is busy with others, it begins at once. `limit` is how many may wait.
    """

    def __init__(self, writer: Writer, limit: int) -> None:
        self._writer = writer
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Job] = []
        self._is_called = self._is_busy = self._is_closed = False
        # The outcomes of a group whose COMMIT is not over, and what was made of them.
        self._prepared: tuple[Sequence[Outcome], Sequence[Outcome]] = ((), ())
        self._end: asyncio.Future[None] = self._loop.create_future()

    def submit(
        self,
        operation: Callable[..., Any],
        argument: Any,
        *,
        is_short: bool = False,
        as_of: int | None = None,
        then: Callable[[Any], Any] | None = None,
    ) -> "asyncio.Future[Any]":
        """Add a job and return the future of its outcome; raise Unavailable where too many wait."""
        if self._is_closed or len(self._waiting) >= self._limit:
            raise Unavailable("Too many requests wait for the database.")
        future = self._loop.create_future()
        self._waiting.append(
            Job(operation, argument, future, time.monotonic(), is_short=is_short, as_of=as_of, then=then)
        )
        if not self._is_busy and not self._is_called:
            self._listen(1)
        return future

    async def stop(self) -> None:
        """Finish what waits; what comes later is refused."""
        self._is_closed = True
        if not self._is_busy:
            self._go_on()
        await self._end

    def _listen(self, turns: int, answered: int = 0) -> None:
        """Begin the next group after so many turns of the loop, and once one has brought nobody more."""
        self._is_called = True
        began = time.monotonic()

        def heard(turns: int, before: int) -> None:
            waiting = len(self._waiting)
            is_more_expected = turns > 0 or waiting > before
            is_over = self._is_closed or waiting >= MOST_SHORT_WRITES_TOGETHER
            if is_more_expected and not is_over and not _is_busy_with_others(began, answered + waiting):
                self._loop.call_soon(heard, turns - 1, waiting)
            else:
                self._go_on()

        self._loop.call_soon(heard, turns - 1, len(self._waiting))

    def _go_on(self) -> None:
        """Begin the next group, unless one is under way; end after the last."""
        self._is_called = False
        if self._waiting and not self._is_busy:
            late, self._waiting = split_late(self._waiting)
            settle(late, too_late(late))
        if self._waiting and not self._is_busy:
            self._begin_group()
        if self._is_closed and not self._waiting and not self._is_busy and not self._end.done():
            self._end.set_result(None)

    @abstractmethod
    def _begin_group(self) -> None:
        """Begin to do those who wait, of whom there are some."""

    def _taken(self) -> tuple[list[Job], bool]:
        """Take those who are next, as many as are one group; say whether all of them are short."""
        joining = self._joining()
        are_short = all(job.is_short for job in joining[:MOST_SHORT_WRITES_TOGETHER])
        jobs = joining[: MOST_SHORT_WRITES_TOGETHER if are_short else MOST_WRITES_TOGETHER]
        taken = set(map(id, jobs))
        self._waiting = [job for job in self._waiting if id(job) not in taken]
        return jobs, are_short

    def _joining(self) -> list[Job]:
        """Return those who may be in one group with the first, in their order."""
        return self._waiting

    def _prepare(self, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
        """Make of outcomes what is waited for, before their COMMIT is over: the loop is idle where all wait
        for that.
        """
        self._prepared = outcomes, finished(jobs, outcomes)

    def _settle(self, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
        """Give each job what is made of its outcome; where the group was done again, these are others."""
        (of, prepared), self._prepared = self._prepared, ((), ())
        settle(jobs, prepared if of is outcomes else finished(jobs, outcomes))

    def _done(self, jobs: Sequence[Job], outcomes: Sequence[Outcome], ended: float) -> None:
        self._is_busy = False
        self._settle(jobs, outcomes)
        if _is_busy_with_others(ended, len(jobs) + len(self._waiting)):
            self._go_on()
        else:
            self._listen(TURNS_AFTER_ANSWERS, answered=len(jobs))


def _is_busy_with_others(since: float, jobs: int) -> bool:
    """Say whether the loop has taken longer, since a moment, than it does for so many jobs."""
    return time.monotonic() - since > TURN_SECONDS + JOB_SECONDS * jobs
