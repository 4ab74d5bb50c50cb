"""Writes to a database that is near: statements on the loop's thread, waiting for a disk on another."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rollbook.storage.engines import NearSession
from rollbook.storage.faults import Unavailable
from rollbook.storage.tables import REMEMBERED
from rollbook.storage.workers import QUIET_SECONDS, Job, Outcome, settle, split_late, too_late
from rollbook.storage.writing import MOST_OWED, MOST_WRITES_TOGETHER, Begun, Writer

# Of short ones, for which everybody waits some tens of microseconds each.
MOST_AT_ONCE = 128
# In one turn of the loop the answers of a group are written, in the next their clients ask for more.
TURNS_AFTER_ANSWERS = 2
# A COMMIT that takes less is over before two changes of threads would have paid.
SHORT_COMMIT_SECONDS = 0.001


class Task(NamedTuple):
    """What the thread does for some jobs; `begun` is their transaction, where it is only to be committed."""

    jobs: Sequence[Job]
    work: Callable[[], Sequence[Outcome]]
    begun: Begun | None = None


class NearWriter:
    """The writer of a database whose statements cost less than a change of threads.

    Jobs that wait together are a group, and one group is under way at a time. The next begins once a turn of
    the loop brings nobody more who would join it: a COMMIT costs as much as several creates, and many who
    write at once are then one group, not two that take turns. Short ones are done on the loop's thread, but
    for their COMMIT: a thread waits for the disk, while the loop hears others. A lone one is committed there,
    too, where the disk was quick the last time. The thread does the whole of a group that is not short, or
    finds the database locked, or fails; and, when nobody has written for a moment, a part of what is owed.

    `reader` is the session that reads on the loop's thread: it stays current when commits of short jobs
    change nothing that is remembered.
    """

    def __init__(self, writer: Writer, session: NearSession, reader: NearSession, limit: int) -> None:
        self._writer = writer
        self._session = session
        self._reader = reader
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Job] = []
        self._is_called = self._is_busy = self._is_closed = False
        self._is_more_owed = self._is_quiet = True
        self._rest: asyncio.TimerHandle | None = self._loop.call_later(QUIET_SECONDS, self._pay_if_quiet)
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def submit(
        self, operation: Callable[..., Any], argument: Any, *, is_short: bool = False
    ) -> "asyncio.Future[Any]":
        """Add a job and return the future of its outcome; raise Unavailable where too many wait."""
        if self._is_closed or len(self._waiting) >= self._limit:
            raise Unavailable("Too many requests wait for the database.")
        future = self._loop.create_future()
        self._waiting.append(Job(operation, argument, future, time.monotonic(), is_short=is_short))
        if not self._is_busy and not self._is_called:
            self._listen(1)
        return future

    async def stop(self) -> None:
        """Finish what waits; what comes later is refused."""
        self._is_closed = True
        if self._rest is not None:
            self._rest.cancel()
        if not self._is_busy:
            self._go_on()
        await asyncio.to_thread(self._thread.join)

    # On the loop's thread.

    def _listen(self, turns: int) -> None:
        """Begin the next group after so many turns of the loop, and once one has brought nobody more."""
        self._is_called = True
        self._loop.call_soon(self._heard, turns - 1, len(self._waiting))

    def _heard(self, turns: int, before: int) -> None:
        waiting = len(self._waiting)
        if not self._is_closed and waiting < MOST_AT_ONCE and (turns > 0 or waiting > before):
            self._listen(turns)
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Begin the next group, unless one is under way; end the thread after the last."""
        self._is_called = False
        if self._waiting and not self._is_busy:
            late, self._waiting = split_late(self._waiting)
            settle(late, too_late(late))
        if self._waiting and not self._is_busy:
            self._is_quiet = False
            self._begin_group()
        if self._is_closed and not self._waiting and not self._is_busy:
            self._tasks.put(None)

    def _begin_group(self) -> None:
        are_short = all(job.is_short for job in self._waiting[:MOST_AT_ONCE])
        most = MOST_AT_ONCE if are_short else MOST_WRITES_TOGETHER
        jobs, self._waiting = self._waiting[:most], self._waiting[most:]
        begun = None
        if are_short and self._writer.owed <= MOST_OWED:
            begun = self._writer.begin(self._session, self._reader, jobs)
        if begun is None:
            self._hand_over(Task(jobs, lambda: self._writer.write(jobs)))
        elif len(jobs) == 1 and self._is_commit_short():
            settle(jobs, self._writer.end(begun))
            self._stay_current(begun)
            self._pay_soon()
        else:
            self._hand_over(Task(jobs, lambda: self._writer.end(begun), begun))

    def _is_commit_short(self) -> bool:
        return self._writer.last_commit_seconds < SHORT_COMMIT_SECONDS and not self._reader.is_log_long

    def _hand_over(self, task: Task) -> None:
        self._is_busy = True
        self._tasks.put(task)

    def _done(self, task: Task, outcomes: Sequence[Outcome]) -> None:
        self._is_busy = False
        self._is_quiet = not task.jobs
        settle(task.jobs, outcomes)
        if task.begun is not None:
            self._stay_current(task.begun)
        self._listen(TURNS_AFTER_ANSWERS)
        if task.jobs:
            self._pay_soon()
        elif self._is_more_owed:
            self._pay_if_quiet()

    def _stay_current(self, begun: Begun) -> None:
        if begun.is_committed and REMEMBERED.isdisjoint(begun.transaction.changed):
            self._reader.pass_by(begun.state)

    def _pay_soon(self) -> None:
        if self._writer.owed and self._rest is None:
            self._rest = self._loop.call_later(QUIET_SECONDS, self._pay_if_quiet)

    def _pay_if_quiet(self) -> None:
        self._rest = None
        was_quiet, self._is_quiet = self._is_quiet, True
        if self._is_closed:
            return
        if was_quiet and not self._is_busy and not self._waiting:
            self._hand_over(Task((), self._pay))
        else:
            self._rest = self._loop.call_later(QUIET_SECONDS, self._pay_if_quiet)

    # On the thread.

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                outcomes = task.work()
            except Exception as error:  # raised where the jobs are awaited; the thread is for others, too
                outcomes = [error] * len(task.jobs)
            self._loop.call_soon_threadsafe(self._done, task, outcomes)

    def _pay(self) -> Sequence[Outcome]:
        self._is_more_owed = self._writer.pay()
        return ()
