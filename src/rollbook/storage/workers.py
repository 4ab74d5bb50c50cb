"""Jobs that wait for the database, and who does them: together, with all of them answered at once."""

import asyncio
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rollbook.storage.faults import Unavailable

# What has waited so long is refused: its client has gone or will, and the newer ones still gain.
LONGEST_WAIT_SECONDS = 10.0
# A client that writes one thing after another asks again sooner.
QUIET_SECONDS = 0.05


class Job(NamedTuple):
    """An operation with its argument, and who waits for the outcome.

    `takes_list` says that the operation takes a list of arguments and answers for each, `is_short` that it is
    no more than a few look-ups by indexes and a few rows to write, `is_look` that it reads, by one statement
    as a rule. `as_of` is the number of changes of what is remembered that it was prepared by, where that is
    not proven otherwise. `then` makes of its outcome, on the loop's thread, what is waited for.
    """

    operation: Callable[..., Any]
    argument: Any
    future: "asyncio.Future[Any]"
    since: float
    takes_list: bool = False
    is_short: bool = False
    is_look: bool = False
    as_of: int | None = None
    then: Callable[[Any], Any] | None = None


Outcome = Any
Work = Callable[[list[Job]], Sequence[Outcome]]


class Queue(ABC):
    """Jobs that wait for those who do them, up to `most` together; refuses more than `limit`, and takes none
    once it has stopped.

    `work` gets jobs and returns an outcome for each: a value, or an exception to be raised.
    """

    def __init__(self, limit: int, most: int) -> None:
        self._most = most
        self._of_this_turn: list[Job] = []
        self._limit = limit
        self._closed = False
        # How often jobs were handed over: what was submitted in one turn begins together, and later.
        self.turn = 0

    def submit(
        self,
        operation: Callable[..., Any],
        argument: Any,
        *,
        takes_list: bool = False,
        is_look: bool = False,
        as_of: int | None = None,
    ) -> "asyncio.Future[Any]":
        """Add a job and return the future of its outcome; raise Unavailable where too many wait."""
        if self._closed or self._count_waiting() + len(self._of_this_turn) >= self._limit:
            raise Unavailable("Too many requests wait for the database.")
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if not self._of_this_turn:
            # Once the loop has heard all who speak now: waking a worker for each would have it and the
            # loop take turns at the interpreter, which costs more than the work.
            loop.call_soon(self._hand_over)
        self._of_this_turn.append(
            Job(operation, argument, future, time.monotonic(), takes_list, is_look=is_look, as_of=as_of)
        )
        return future

    def _hand_over(self) -> None:
        jobs, self._of_this_turn = self._of_this_turn, []
        self.turn += 1
        self._put(jobs)

    async def stop(self) -> None:
        """Take no more, and end once all is done that came before."""
        self._closed = True
        self._hand_over()
        await self._end()

    @abstractmethod
    def _count_waiting(self) -> int: ...

    @abstractmethod
    def _put(self, jobs: list[Job]) -> None: ...

    @abstractmethod
    async def _end(self) -> None: ...


class ThreadQueue(Queue):
    """Jobs that threads do, each by a `work` of its own."""

    def __init__(self, limit: int, most: int, works: Sequence[Work]) -> None:
        super().__init__(limit, most)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(name=f"reader-{number}", target=self._run, args=(work,), daemon=True)
            for number, work in enumerate(works)
        ]
        for thread in self._threads:
            thread.start()

    def _count_waiting(self) -> int:
        return self._jobs.qsize()

    def _put(self, jobs: list[Job]) -> None:
        for job in jobs:
            self._jobs.put(job)

    async def _end(self) -> None:
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    # On a thread.

    def _run(self, work: Work) -> None:
        while jobs := self._take():
            # One call for all: waking the loop costs more than settling a future.
            answer = jobs[0].future.get_loop().call_soon_threadsafe
            late, jobs = split_late(jobs)
            if late:
                answer(settle, late, too_late(late))
            if jobs:
                answer(settle, jobs, done_by(work, jobs))

    def _take(self) -> list[Job]:
        """Wait for a job, then take those that wait beside it; empty means stop."""
        job = self._jobs.get()
        if job is None:
            return []
        jobs = [job]
        while len(jobs) < self._most:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                # The end belongs to whoever takes next, after what came before it is done.
                self._jobs.put(None)
                break
            jobs.append(job)
        return jobs


def done_by(work: Work, jobs: list[Job]) -> Sequence[Outcome]:
    """Return the outcomes of jobs; what work raises as it never should is that of each of them."""
    try:
        outcomes = work(jobs)
        if len(outcomes) != len(jobs):
            raise RuntimeError(f"{len(outcomes)} outcomes of {len(jobs)} jobs")
        return outcomes
    except Exception as error:  # raised where the jobs are awaited; who works is there for others, too
        return [error] * len(jobs)


def split_late(jobs: list[Job]) -> tuple[list[Job], list[Job]]:
    """Return the jobs that have waited too long, which are in front, and the others."""
    oldest = time.monotonic() - LONGEST_WAIT_SECONDS
    if jobs[0].since >= oldest:
        return [], jobs
    return [job for job in jobs if job.since < oldest], [job for job in jobs if job.since >= oldest]


def too_late(jobs: Sequence[Job]) -> Sequence[Outcome]:
    """Return the outcomes of jobs that waited too long: new ones, for what is raised keeps its frames."""
    return [Unavailable("The database did not get to it in time.") for _ in jobs]


def finished(jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """Return what each job's `then` makes of its outcome, on the loop's thread."""
    return [_finished(job, outcome) for job, outcome in zip(jobs, outcomes, strict=True)]


def _finished(job: Job, outcome: Outcome) -> Outcome:
    if job.then is None or isinstance(outcome, Exception):
        return outcome
    try:
        return job.then(outcome)
    except Exception as error:  # raised where the job is awaited
        return error


def settle(jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
    """Give each job its outcome, on the loop's thread."""
    for job, outcome in zip(jobs, outcomes, strict=True):
        if job.future.done():
            continue  # whoever waited has gone; what was committed stays
        if isinstance(outcome, StopIteration):
            # No future takes it; it would end whoever awaits it.
            job.future.set_exception(RuntimeError("an operation raised StopIteration"))
        elif isinstance(outcome, Exception):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)
