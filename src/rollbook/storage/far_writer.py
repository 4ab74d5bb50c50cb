"""Writes to a database that is far, and lets several write at once: short ones beside those that are not."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from rollbook.storage import on_loop
from rollbook.storage.group_writer import GroupWriter
from rollbook.storage.thread_writer import ThreadWriter
from rollbook.storage.workers import Job, Outcome, done_by
from rollbook.storage.writing import Writer


class FarWriter:
    """The writer of such a database. Of groups of short jobs, the loop does all that is not the database's,
    for a change of threads costs more; others, which may wait for a site or be much work, are a thread's,
    and no short one stands in line behind them.

    `limit` is how many may wait of each kind.
    """

    def __init__(self, of_short: Writer, of_others: Writer, limit: int) -> None:
        self._short = _LoopWriter(of_short, limit)
        self._others = _OtherWriter(of_others, limit)

    def submit(
        self, operation: Callable[..., Any], argument: Any, *, is_short: bool = False, **more: Any
    ) -> "asyncio.Future[Any]":
        """Add a job as `GroupWriter.submit` does, to those of its kind."""
        writer = self._short if is_short else self._others
        return writer.submit(operation, argument, is_short=is_short, **more)

    async def stop(self) -> None:
        """Finish what waits; what comes later is refused."""
        await asyncio.gather(self._short.stop(), self._others.stop())


class _OfOneOperation(GroupWriter):
    """A writer whose groups are of one operation, which locks all sites that it needs in order.

    Two that did so one after the other in a transaction would lock in none, and wait for those who do so the
    other way round.
    """

    def _joining(self) -> list[Job]:
        operation = self._waiting[0].operation
        return [job for job in self._waiting if job.operation is operation]


class _OtherWriter(_OfOneOperation, ThreadWriter):
    """The writer of what is not short."""


class _LoopWriter(_OfOneOperation):
    """The writer of short jobs: it rests where a thread would wait."""

    def _begin_group(self) -> None:
        jobs, _ = self._taken()

        def done(outcomes: Sequence[Outcome]) -> None:
            self._done(jobs, outcomes, time.monotonic())

        def operated(outcomes: Sequence[Outcome]) -> None:
            # Once this rests until the COMMIT is over.
            self._loop.call_soon(self._prepare, jobs, outcomes)

        def write(jobs: list[Job]) -> Sequence[Outcome]:
            return self._writer.write(jobs, operated)

        self._is_busy = True
        on_loop.start(lambda: done_by(write, jobs), done)
