"""Writes to a database that is near: statements on the loop's thread, waiting for a disk on another."""

import asyncio
import threading
from collections.abc import Sequence

from rollbook.storage.debts import is_quiet
from rollbook.storage.engines import NearSession
from rollbook.storage.tables import REMEMBERED
from rollbook.storage.thread_writer import Task, ThreadWriter
from rollbook.storage.workers import QUIET_SECONDS, Job, Outcome
from rollbook.storage.writing import Begun, Writer

# A COMMIT that takes less is over before two changes of threads would have paid.
SHORT_COMMIT_SECONDS = 0.001
# To prepare so many answers takes longer than a change of threads.
MANY_TO_PREPARE = 8
LONGEST_HANDING_OVER_SECONDS = 0.01


class NearWriter(ThreadWriter):
    """The writer of a database whose statements cost less than a change of threads.

    Short jobs are done on the loop's thread, but for their COMMIT: the thread waits for the disk, while the
    loop hears others. A lone one is committed there, too, where the disk was quick the last time. The thread
    does the whole of a group that is not short, or finds the database locked, or fails; and, in a quiet
    moment, a part of what is owed.

    `reader` is the session that reads on the loop's thread: it stays current when commits of short jobs
    change nothing that is remembered.
    """

    def __init__(self, writer: Writer, session: NearSession, reader: NearSession, limit: int) -> None:
        super().__init__(writer, limit)
        self._session = session
        self._reader = reader
        self._is_more_owed = True
        self._written = 0
        self._rest: asyncio.TimerHandle | None = self._loop.call_later(QUIET_SECONDS, self._pay_if_quiet)

    async def stop(self) -> None:
        """Finish what waits; what comes later is refused."""
        if self._rest is not None:
            self._rest.cancel()
        await super().stop()

    # On the loop's thread.

    def _begin_group(self) -> None:
        jobs, are_short = self._taken()
        begun = None
        if are_short and not self._writer.owes_too_much:
            begun = self._writer.begin(self._session, self._reader, jobs)
        if begun is None:
            self._hand_over(Task(jobs, lambda: self._writer.write(jobs)))
        elif len(jobs) == 1 and self._is_commit_short():
            self._settle(jobs, self._writer.end(begun))
            self._stay_current(begun)
            self._pay_soon()
        else:
            self._hand_over_commit(jobs, begun)

    def _hand_over_commit(self, jobs: Sequence[Job], begun: Begun) -> None:
        is_under_way = threading.Lock()
        is_under_way.acquire()

        def commit() -> Sequence[Outcome]:
            is_under_way.release()
            return self._writer.end(begun)

        self._hand_over(Task(jobs, commit, begun))
        if len(jobs) >= MANY_TO_PREPARE:
            # Else this thread would keep the interpreter, and the COMMIT begin once all is prepared.
            is_under_way.acquire(timeout=LONGEST_HANDING_OVER_SECONDS)
            self._prepare(jobs, begun.outcomes)

    def _is_commit_short(self) -> bool:
        return self._writer.last_commit_seconds < SHORT_COMMIT_SECONDS and not self._reader.is_log_long

    def _settle(self, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
        self._written += len(jobs)
        super()._settle(jobs, outcomes)

    def _task_done(self, task: Task, outcomes: Sequence[Outcome], ended: float) -> None:
        super()._task_done(task, outcomes, ended)
        if task.begun is not None:
            self._stay_current(task.begun)
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
        was_quiet, self._written = is_quiet(self._written, self._writer.owed), 0
        if self._is_closed:
            return
        if was_quiet and not self._is_busy and not self._waiting:
            self._hand_over(Task((), self._pay))
        else:
            self._rest = self._loop.call_later(QUIET_SECONDS, self._pay_if_quiet)

    # On the thread.

    def _pay(self) -> Sequence[Outcome]:
        self._is_more_owed = self._writer.pay()
        return ()
