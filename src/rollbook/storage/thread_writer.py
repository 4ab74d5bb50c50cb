"""Groups of writes that a thread does, while the event loop hears others."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rollbook.storage.group_writer import GroupWriter
from rollbook.storage.workers import Job, Outcome
from rollbook.storage.writing import Begun, Writer


class Task(NamedTuple):
    """What the thread does for some jobs; `begun` is their transaction, where it is only to be committed."""

    jobs: Sequence[Job]
    work: Callable[[], Sequence[Outcome]]
    begun: Begun | None = None


class ThreadWriter(GroupWriter):
    """A writer whose groups are done by a thread, unless who inherits from it knows better."""

    def __init__(self, writer: Writer, limit: int) -> None:
        super().__init__(writer, limit)
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Finish what waits; what comes later is refused."""
        await super().stop()
        self._tasks.put(None)
        await asyncio.to_thread(self._thread.join)

    # On the loop's thread.

    def _begin_group(self) -> None:
        jobs, _ = self._taken()
        self._hand_over(Task(jobs, lambda: self._writer.write(jobs)))

    def _hand_over(self, task: Task) -> None:
        self._is_busy = True
        self._tasks.put(task)

    def _task_done(self, task: Task, outcomes: Sequence[Outcome], ended: float) -> None:
        self._done(task.jobs, outcomes, ended)

    # On the thread.

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                outcomes = task.work()
            except Exception as error:  # raised where the jobs are awaited; the thread is for others, too
                outcomes = [error] * len(task.jobs)
            self._loop.call_soon_threadsafe(self._task_done, task, outcomes, time.monotonic())
