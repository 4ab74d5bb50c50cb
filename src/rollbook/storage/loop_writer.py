"""Writes to a database that is far: an event loop does the short ones, and goes on while it is waited for."""

import time
from collections.abc import Sequence

from rollbook.storage import on_loop
from rollbook.storage.group_writer import GroupWriter, Task
from rollbook.storage.workers import Job, Outcome, done_by
from rollbook.storage.writing import Writer


class LoopWriter(GroupWriter):
    """The writer of a database that lets several write at once: of groups of short jobs, the loop does all
    that is not the database's, for a change of threads costs more; of others, the thread, by a `writer` of
    its own.

    A group is of one operation, which locks all sites that it needs in order. Two that did so one after the
    other in a transaction would lock in none, and wait for those who do so the other way round.
    """

    def __init__(self, writer: Writer, writer_on_loop: Writer, limit: int) -> None:
        super().__init__(writer, limit)
        self._writer_on_loop = writer_on_loop

    def _begin_group(self) -> None:
        jobs, are_short = self._taken()
        writer = self._writer_on_loop if are_short else self._writer
        task = Task(jobs, lambda: writer.write(jobs))
        if not are_short:
            self._hand_over(task)
            return

        def done(outcomes: Sequence[Outcome]) -> None:
            self._done(task, outcomes, time.monotonic())

        def operated(outcomes: Sequence[Outcome]) -> None:
            # Once this rests until the COMMIT is over.
            self._loop.call_soon(self._prepare, jobs, outcomes)

        def write(jobs: list[Job]) -> Sequence[Outcome]:
            return writer.write(jobs, operated)

        self._is_busy = True
        on_loop.start(lambda: done_by(write, jobs), done)

    def _joining(self) -> list[Job]:
        operation = self._waiting[0].operation
        return [job for job in self._waiting if job.operation is operation]
