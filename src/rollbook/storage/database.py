"""The one page of storage that the register and the doors see: open, read, write."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from rollbook.storage.engines import Engine, Session
from rollbook.storage.faults import SchemaMismatch, Unavailable, UnfinishedCopy
from rollbook.storage.ids import Allotter
from rollbook.storage.reading_together import MOST_REMEMBERED, answer_together, changes_seen
from rollbook.storage.tables import REVISIONS, UNFINISHED
from rollbook.storage.transactions import Snapshot, TakesLong, Transaction
from rollbook.storage.workers import Job, Outcome, Queue, Worker

MOST_WRITES_TOGETHER = 256
# A search looks at each contact that its index does not have yet, about a microsecond for each.
MOST_OWED = 1_024
READY_SECONDS = 2

In = TypeVar("In")
Out = TypeVar("Out")


class Database:
    """The register's database, for one thread at a time with `snapshot` and `transaction`, or, once
    `start` was called, for an event loop with `read`, `glance`, `remembered` and `write`.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._ids = Allotter()
        self._writer: Session | None = None
        self._glancer: Session | None = None
        self._readers: list[Session] = []
        self._workers: list[Worker] = []
        self._writes: Queue | None = None
        self._reads: Queue | None = None
        self._memory: dict[tuple[Any, Any], Any] = {}
        self._upkeep: Callable[[Transaction], int] | None = None
        self._owed = 0
        # Of a database that is not near: the number of changes of what is remembered, and who asks for it.
        self._changes_known = -1
        self._asking: asyncio.Future[int] | None = None
        self._turn_asked = 0

    # For one thread: the command line, the start of a server, tests.

    def revision(self) -> str | None:
        """Return the revision of the schema, or None for an empty database; raise where it is newer."""
        with self._explaining():
            found = self.engine.revision(self._session())
        if found == UNFINISHED:
            raise UnfinishedCopy(
                f"The database {self.engine.name} is an unfinished copy of another. Run the same "
                "`rollbook db copy` again, which completes it; or remove it."
            )
        if found is not None and found not in REVISIONS:
            raise SchemaMismatch(
                f"The database has the schema {found}, which is newer than this program (it knows up to "
                f"{REVISIONS[-1]}). Install the Rollbook that made it, or a newer one."
            )
        return found

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a transaction that is committed at the end of the block, or rolled back by an exception."""
        session = self._session()
        with self._explaining():
            session.begin()
            transaction = Transaction(session, self.engine.dialect, self._ids)
            try:
                yield transaction
                session.commit(transaction.changed)
            except BaseException:
                self._roll_back(session)
                raise
        self._ids.committed()

    def do(self, work: Callable[[Transaction], Out]) -> Out:
        """Do work in a transaction, committed before this returns; again where the database undid it for
        reasons that may pass.
        """
        with self._explaining():
            return self._committed(self._session(), work)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open a consistent state of the register for reading."""
        session = self._session()
        with self._explaining():
            session.begin_reading()
            try:
                yield Snapshot(session, self.engine.dialect)
            finally:
                session.roll_back()

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            explained = self.engine.explained(error)
            if explained is error:
                raise
            raise explained from error

    def _session(self) -> Session:
        if self._writer is None:
            self.engine.prepare()
            self._writer = self.engine.open_writer()
        return self._writer

    def faults(self) -> list[str]:
        """Return what the engine's own checks find wrong; empty when all is well."""
        with self._explaining():
            return self.engine.faults(self._session())

    def close(self) -> None:
        """Close what `snapshot` and `transaction` used, and let go of the server's lock."""
        for session in (self._glancer, *self._readers, self._writer):
            if session is not None:
                session.close()
        self._writer = self._glancer = None
        self._readers = []
        self.engine.close()

    def scrub_now(self) -> None:
        """Have nothing left of what was deleted, as far as the database can do that."""
        with self._explaining():
            self.engine.scrub(self._session())

    # For an event loop: the servers.

    def start(self, max_waiting: int, upkeep: Callable[[Transaction], int] | None = None) -> None:
        """Start the threads that read and write; as many jobs may wait for each.

        `upkeep` does a part of what transactions owe, and returns how much that was; it is called in quiet
        moments, and whenever too much is owed.
        """
        self._upkeep = upkeep
        writer = self._session()
        if self.engine.is_near:
            self._glancer = self.engine.open_reader()
        self._writes, self._reads = Queue(max_waiting), Queue(max_waiting)
        self._workers.append(
            Worker(
                "writer",
                self._writes,
                MOST_WRITES_TOGETHER,
                lambda jobs: self._write_and_pay(writer, jobs),
                lambda: self._pay(writer),
            )
        )
        for number in range(self.engine.readers):
            self._start_reader(f"reader-{number}", self._reads)
        for worker in self._workers:
            worker.start()

    def _start_reader(self, name: str, jobs: Queue) -> None:
        session = self.engine.open_reader()
        self._readers.append(session)
        memory: dict[tuple[Any, Any], Any] = {}
        self._workers.append(
            Worker(
                name,
                jobs,
                self.engine.most_reads_together,
                lambda taken: answer_together(self.engine, session, memory, taken),
            )
        )

    async def stop(self) -> None:
        """Finish what waits, checkpoint, and close; what comes later is refused."""
        if self._writes is not None and self._reads is not None:
            self._writes.close(1)
            self._reads.close(self.engine.readers)
            for worker in self._workers:
                await asyncio.to_thread(worker.join)
            self._writes = self._reads = None
            self._workers.clear()
            self._memory.clear()
        self.close()

    async def write(
        self, operation: Callable[[Transaction, list[In]], Sequence[Out | Exception]], item: In
    ) -> Out:
        """Do an operation on an item, committed before this returns.

        The operation takes a list, for items that wait together are done together: it answers for each
        with a value or with the exception that this call shall raise. It may be done again from the start
        where the database undid it. Raises Unavailable where the database cannot do it now; then nothing
        of it was kept, unless the database went away before it told the outcome.
        """
        if self._writes is None:
            raise Unavailable("The database is not started.")
        outcome: Out = await self._writes.submit(operation, item)
        return outcome

    async def scrub(self) -> None:
        """Have nothing left of what was deleted, as far as the database can do that."""
        if self._writes is None:
            raise Unavailable("The database is not started.")
        await self._writes.submit(_scrub, None)

    async def read(self, operation: Callable[[Snapshot, In], Out], item: In) -> Out:
        """Do an operation on a consistent state that has everything that was answered before."""
        if self._reads is None:
            raise Unavailable("The database is not started.")
        outcome: Out = await self._reads.submit(operation, item)
        return outcome

    async def remembered(self, operation: Callable[[Snapshot, In], Out | None], item: In) -> Out | None:
        """Do a `glance`, and remember its value until anybody, another process included, commits what may
        change it; None is not remembered.
        """
        if not await self._is_memory_current() or len(self._memory) > MOST_REMEMBERED:
            self._memory.clear()
        known: Out | None = self._memory.get((operation, item))
        if known is None:
            known = await self.glance(operation, item, several=True)
            if known is not None:
                self._memory[operation, item] = known
        return known

    async def _is_memory_current(self) -> bool:
        if self._glancer is not None:
            return self._glancer.is_current
        if self._reads is None:
            raise Unavailable("The database is not started.")
        if self._asking is None or self._turn_asked != self._reads.turn:
            # All who come in this turn ask together, for the answer is found after the turn.
            self._asking = self._reads.submit(changes_seen, None)
            self._turn_asked = self._reads.turn
        changes = await self._asking
        is_current, self._changes_known = changes == self._changes_known, changes
        return is_current

    async def glance(
        self, operation: Callable[[Snapshot, In], Out], item: In, *, several: bool = False
    ) -> Out:
        """Do a read of a few index look-ups at once, on the caller's thread where the database is near:
        a change of threads costs more than they do. Whatever may scan belongs to `read`. `several`
        statements see one state.
        """
        if self._glancer is None:
            return await self.read(operation, item)
        return self._near(self._glancer, operation, item, several)

    async def glance_or_read(self, operation: Callable[[Snapshot, In], Out], item: In) -> Out:
        """Do a read that may turn out to be a `glance`, as such where it does not raise TakesLong.

        Not while anything is owed: a search looks at the texts of all that its index does not have yet.
        """
        if self._glancer is not None and not self._owed:
            with contextlib.suppress(TakesLong):
                return self._near(self._glancer, operation, item, several=True, is_hurried=True)
        return await self.read(operation, item)

    async def glance_at_each(
        self,
        operation: Callable[[Snapshot, list[In]], Sequence[Out]],
        item: In,
        *,
        several: bool = False,
    ) -> Out:
        """Do a `glance` by an operation that takes a list: where the database is not near, those that wait
        together look together.
        """
        if self._glancer is not None:
            return self._near(self._glancer, operation, [item], several)[0]
        if self._reads is None:
            raise Unavailable("The database is not started.")
        outcome: Out = await self._reads.submit(operation, item, takes_list=True)
        return outcome

    def _near(
        self,
        session: Session,
        operation: Callable[[Snapshot, In], Out],
        item: In,
        several: bool,
        is_hurried: bool = False,
    ) -> Out:
        snapshot = Snapshot(session, self.engine.dialect, self._memory, is_hurried=is_hurried)
        try:
            if not several:
                return operation(snapshot, item)
            session.begin_reading()
            try:
                return operation(snapshot, item)
            finally:
                session.commit()
        except Exception as error:
            explained = self.engine.explained(error)
            if explained is error:
                raise
            raise explained from error

    async def ready(self) -> None:
        """Raise StorageError unless the database answers soon, and its schema is the program's."""
        asked = self.glance(lambda snapshot, _none: self.engine.revision(snapshot._session), None)
        try:
            # Whoever asks wants to know how it is now, not how it will be. A task of its own, for a request
            # need not be one.
            found = await asyncio.create_task(asyncio.wait_for(asked, READY_SECONDS))
        except TimeoutError:
            raise Unavailable(f"The database did not answer within {READY_SECONDS} seconds.") from None
        if found != REVISIONS[-1]:
            raise SchemaMismatch(f"The schema is {found}, but this program needs {REVISIONS[-1]}.")

    # On the threads.

    def _write(self, session: Session, jobs: list[Job]) -> Sequence[Outcome]:
        """Do the jobs in one transaction; where one breaks it, each in its own."""
        for at, job in enumerate(jobs):
            if job.operation is _scrub:
                # It cannot be a part of a transaction.
                before = self._write(session, jobs[:at]) if at else []
                return [*before, self._scrubbed(session), *self._write(session, jobs[at + 1 :])]
        if not jobs:
            return []
        try:
            return self._committed(session, lambda transaction: self._operate(transaction, jobs))
        except Exception as error:
            explained = self.engine.explained(error)
            if len(jobs) == 1 or isinstance(explained, Unavailable):
                return [explained] * len(jobs)
        # Which one it was is not known, and the others must not suffer for it.
        return [outcome for job in jobs for outcome in self._write(session, [job])]

    def _committed(self, session: Session, work: Callable[[Transaction], Out]) -> Out:
        """Do work in a transaction and return its outcome, committed; again where that may help.

        A lost connection leaves open whether a COMMIT took place; the session of the next attempt finds
        out, and then what was done stands as it was answered.
        """
        pauses = iter(self.engine.pauses())
        done: list[Out] = []
        attempts = 0
        while True:
            try:
                if not session.begin(attempts > 0):
                    return done[-1]
                transaction = Transaction(session, self.engine.dialect, self._ids)
                done.append(work(transaction))
                session.commit(transaction.changed)
                break
            except Exception as error:
                self._roll_back(session)
                pause = next(pauses, None) if self.engine.may_pass(error, attempts) else None
                if pause is None:
                    raise
                time.sleep(pause)
                attempts += 1
        self._ids.committed()
        self._owed += transaction.owed
        return done[-1]

    def _write_and_pay(self, session: Session, jobs: list[Job]) -> Sequence[Outcome]:
        """Do the jobs, after a part of what is owed where that is too much."""
        while self._owed > MOST_OWED and self._pay(session):
            continue
        return self._write(session, jobs)

    def _pay(self, session: Session) -> bool:
        """Do a part of what is owed; say whether more of it is left."""
        if self._upkeep is None:
            return False
        try:
            done = self._committed(session, self._upkeep)
        except Exception:
            # It stays owed, and searches look at what it is about; the next commit tries again.
            return False
        self._owed = max(0, self._owed - done) if done else 0
        return done > 0

    def _scrubbed(self, session: Session) -> Outcome:
        try:
            self.engine.scrub(session)
        except Exception as error:  # it is the outcome, raised where it is awaited
            return self.engine.explained(error)
        return None

    @staticmethod
    def _operate(transaction: Transaction, jobs: list[Job]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for operation, group in itertools.groupby(jobs, key=lambda job: job.operation):
            items = [job.argument for job in group]
            answers = operation(transaction, items)
            if len(answers) != len(items):
                raise RuntimeError(f"{operation.__qualname__} answered {len(answers)} of {len(items)} items")
            outcomes.extend(answers)
        return outcomes

    def _roll_back(self, session: Session) -> None:
        self._ids.rolled_back()
        session.roll_back()


def _scrub(*_: Any) -> None:
    """Mark the job that rewrites the database; the writer does it by itself."""
