"""How writes are done: in groups, begun again where that may help, one by one where one breaks the others."""

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from rollbook.storage.debts import Upkeep
from rollbook.storage.engines import Engine, NearSession, Session
from rollbook.storage.faults import Unavailable
from rollbook.storage.ids import Allotter
from rollbook.storage.transactions import MOST_REMEMBERED, Outdated, Transaction
from rollbook.storage.workers import Job, Outcome

MOST_WRITES_TOGETHER = 256
# Where the loop does them: everybody waits some tens of microseconds for each.
MOST_SHORT_WRITES_TOGETHER = 128

Out = TypeVar("Out")


# Hears of an outcome before it is committed.
Worked = Callable[[Out], object]


def _heard(_outcome: object) -> None:
    """Hear of what nobody else wants to hear of."""


class Begun:
    """A transaction with the outcomes of its jobs, which waits to be committed.

    `state` is what the database was when it began.
    """

    __slots__ = ("is_committed", "jobs", "outcomes", "state", "transaction")

    def __init__(
        self, jobs: list[Job], transaction: Transaction, outcomes: list[Outcome], state: bytes
    ) -> None:
        self.jobs = jobs
        self.transaction = transaction
        self.outcomes = outcomes
        self.state = state
        self.is_committed = False


class Beside(Protocol):
    """What does what a writer's transactions owe, beside it."""

    def owe(self, count: int) -> None:
        """Note that so much more is owed."""

    def wait_for_room(self) -> None:
        """Wait while too much is owed."""


class Writer:
    """What writes to a database, on one session, for one thread at a time.

    `upkeep` does what transactions owe; `owed` is how much is left. Where another does it `beside`, that is
    told what is owed.
    `last_commit_seconds` is of what was begun and ended in two steps.
    """

    def __init__(self, engine: Engine, session: Session) -> None:
        self.session = session
        self.upkeep: Upkeep | None = None
        self.owed = 0
        self.beside: Beside | None = None
        self.last_commit_seconds = math.inf
        self._engine = engine
        self._ids = Allotter()
        # Of a near database a look-up costs less than to prove what is remembered.
        self._memory: dict[tuple[Any, Any], Any] | None = None if engine.is_near else {}

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a transaction that is committed at the end of the block, or rolled back by an exception."""
        self.session.begin()
        transaction = self._transaction()
        try:
            yield transaction
            self.session.commit(transaction.changed)
        except BaseException:
            self._roll_back()
            raise
        self._committed(transaction)

    def do(self, work: Callable[[Transaction], Out], worked: Worked[Out] = _heard) -> Out:
        """Do work in a transaction and return its outcome, committed; again where that may help. `worked`
        hears of the outcome before the COMMIT, each time.

        A lost connection leaves open whether a COMMIT took place; the session of the next attempt finds
        out, and then what was done stands as it was answered.
        """
        pauses = self._engine.pauses()
        done: list[Out] = []
        attempts = 0
        while True:
            try:
                if not self.session.begin(attempts > 0):
                    break
                transaction = self._transaction()
                done.append(work(transaction))
                worked(done[-1])
                self.session.commit(transaction.changed)
                break
            except Exception as error:
                self._roll_back()
                if not (self._engine.may_pass(error, attempts) and next(pauses, False)):
                    raise
                attempts += 1
        self._committed(transaction)
        return done[-1]

    def write(self, jobs: list[Job], operated: Worked[Sequence[Outcome]] = _heard) -> Sequence[Outcome]:
        """Do jobs in one transaction, after a part of what is owed where that is too much. `operated` hears
        of their outcomes before the COMMIT.
        """
        if self.beside is not None:
            self.beside.wait_for_room()
        most_owed = self._most_owed()
        while self.owed > most_owed and self.pay():
            continue
        if any(job.operation is scrub for job in jobs):
            return self._write_and_scrub(jobs)
        return self._write(jobs, operated)

    def scrub(self, jobs: list[Job]) -> Sequence[Outcome]:
        """Have nothing left of what was deleted, by one rewrite for all these jobs."""
        try:
            self._engine.scrub(self.session)
        except Exception as error:  # it is the outcome, raised where it is awaited
            return self._explained_to(jobs, error)
        return [None] * len(jobs)

    @property
    def owes_too_much(self) -> bool:
        """Whether a part of what is owed has to be done before the next transaction."""
        return self.owed > self._most_owed()

    def _most_owed(self) -> float:
        return math.inf if self.upkeep is None else self.upkeep.most_owed(self.owed)

    def pay(self) -> bool:
        """Do a part of what is owed; say whether more of it is left."""
        if self.upkeep is None:
            return False
        try:
            done = self.do(self.upkeep.do_some)
        except Exception:
            # It stays owed, and searches look at what it is about; the next commit tries again.
            return False
        self.owed = max(0, self.owed - done) if done else 0
        return done > 0

    def begin(self, session: NearSession, reader: NearSession, jobs: list[Job]) -> Begun | None:
        """Do jobs but for the COMMIT, without waiting for anybody.

        Returns None where that cannot be, and nothing was done: `write` finds out why.
        """
        try:
            if not session.begin_at_once():
                return None
            state = reader.state
            transaction = self._transaction()
            return Begun(jobs, transaction, _operate(transaction, jobs), state)
        except Exception:
            self._roll_back()
            return None

    def end(self, begun: Begun) -> Sequence[Outcome]:
        """Commit what was begun, and return the outcomes of its jobs."""
        before = time.perf_counter()
        # A disk that fails may take its time to do so again.
        self.last_commit_seconds = math.inf
        try:
            self.session.commit(begun.transaction.changed)
        except Exception as error:
            self._roll_back()
            explained = self._engine.explained(error)
            if isinstance(explained, Unavailable):
                return self._explained_to(begun.jobs, error)
            return self._write(begun.jobs)
        self.last_commit_seconds = time.perf_counter() - before
        self._committed(begun.transaction)
        begun.is_committed = True
        return begun.outcomes

    def _write(self, jobs: list[Job], operated: Worked[Sequence[Outcome]] = _heard) -> Sequence[Outcome]:
        """Do jobs in one transaction; where one breaks it, each in its own."""
        if not jobs:
            return []
        try:
            return self.do(lambda transaction: _operate_in_time(transaction, jobs), operated)
        except _SomeOutdated as some:
            return self._write_others(jobs, some.changes)
        except Exception as error:
            explained = self._engine.explained(error)
            if len(jobs) == 1 or isinstance(explained, Unavailable):
                return self._explained_to(jobs, error)
        # Which one it was is not known, and the others must not suffer for it.
        return [outcome for job in jobs for outcome in self._write([job])]

    def _write_and_scrub(self, jobs: list[Job]) -> Sequence[Outcome]:
        """Do jobs some of which ask for a scrub, which cannot be a part of a transaction."""
        others = iter(self._write([job for job in jobs if job.operation is not scrub]))
        # Each was asked for once what it is about was committed, so one serves all.
        scrubbed = iter(self.scrub([job for job in jobs if job.operation is scrub]))
        return [next(scrubbed if job.operation is scrub else others) for job in jobs]

    def _write_others(self, jobs: list[Job], changes: int) -> Sequence[Outcome]:
        """Do those of the jobs that were prepared by this number of changes, or by none."""
        others = [job for job in jobs if job.as_of in (None, changes)]
        outcomes = iter(self._write(others))
        return [next(outcomes) if job.as_of in (None, changes) else Outdated() for job in jobs]

    def _explained_to(self, jobs: list[Job], error: Exception) -> Sequence[Outcome]:
        # One for each, for what is raised keeps its frames.
        return [self._engine.explained(error) for _ in jobs]

    def _transaction(self) -> Transaction:
        if self._memory is not None and len(self._memory) > MOST_REMEMBERED:
            self._memory.clear()
        return Transaction(self.session, self._engine.dialect, self._ids, self._memory)

    def _committed(self, transaction: Transaction) -> None:
        self._ids.committed()
        if self.beside is None:
            self.owed += transaction.owed
        else:
            self.beside.owe(transaction.owed)

    def _roll_back(self) -> None:
        self._ids.rolled_back()
        self.session.roll_back()


def scrub(*_: Any) -> None:
    """Mark a job that rewrites the database; the writer does it by itself, once for all in a group."""


class _SomeOutdated(Exception):
    """Some jobs were prepared by another number of changes than the transaction sees."""

    def __init__(self, changes: int) -> None:
        self.changes = changes


def _operate_in_time(transaction: Transaction, jobs: list[Job]) -> list[Outcome]:
    outcomes = _operate(transaction, jobs)
    # After them, when the number has come with what they asked for.
    if any(job.as_of is not None and job.as_of != transaction.changes for job in jobs):
        raise _SomeOutdated(transaction.changes)
    return outcomes


def _operate(transaction: Transaction, jobs: list[Job]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for operation, group in itertools.groupby(jobs, key=lambda job: job.operation):
        items = [job.argument for job in group]
        answers = operation(transaction, items)
        if len(answers) != len(items):
            raise RuntimeError(f"{operation.__qualname__} answered {len(answers)} of {len(items)} items")
        outcomes.extend(answers)
    return outcomes
