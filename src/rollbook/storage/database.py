"""The one page of storage that the register and the doors see: open, read, write."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from rollbook.storage.faults import SchemaMismatch, StorageError, Unavailable
from rollbook.storage.ids import Allotter
from rollbook.storage.sqlite import CommitWatch, SQLite
from rollbook.storage.statements import Connection
from rollbook.storage.tables import REVISIONS
from rollbook.storage.transactions import Snapshot, Transaction
from rollbook.storage.workers import Job, Outcome, Queue, Worker

READERS = 2
MOST_WRITES_TOGETHER = 256
MOST_READS_TOGETHER = 8
MOST_REMEMBERED = 10_000
# A search looks at each contact that its index does not have yet, about a microsecond for each.
MOST_OWED = 1_024

In = TypeVar("In")
Out = TypeVar("Out")


def open_database(url: str) -> "Database":
    """Return the database that a URL names; raise StorageError for a URL that names none.

    `sqlite:///rollbook.db` is a file relative to the working directory, `sqlite:////srv/rollbook.db` an
    absolute one.
    """
    scheme, _, path = url.partition(":///")
    if scheme == "sqlite" and path:
        return Database(SQLite(Path(path)))
    raise StorageError(
        f"The database URL, which begins with {scheme.partition(':')[0]!r}, is not understood. Set "
        "ROLLBOOK_DATABASE to sqlite:///<path>, for example sqlite:///rollbook.db."
    )


class Database:
    """The register's database, for one thread at a time with `snapshot` and `transaction`, or, once
    `start` was called, for an event loop with `read`, `write` and `remembered`.
    """

    def __init__(self, engine: SQLite) -> None:
        self.engine = engine
        self._ids = Allotter()
        self._writer: Connection | None = None
        self._glancer: Connection | None = None
        self._readers: list[Connection] = []
        self._workers: list[Worker] = []
        self._writes: Queue | None = None
        self._reads: Queue | None = None
        self._memory: dict[tuple[Any, Any], Any] = {}
        self._watch: CommitWatch | None = None
        self._upkeep: Callable[[Transaction], int] | None = None
        self._owed = 0

    # For one thread: the command line, the start of a server, tests.

    def revision(self) -> str | None:
        """Return the revision of the schema, or None for an empty database; raise where it is newer."""
        try:
            found = self.engine.revision(self._connection())
        except Exception as error:
            raise self.engine.explained(error) from error
        if found is not None and found not in REVISIONS:
            raise SchemaMismatch(
                f"The database {self.engine.path} has the schema {found}, which is newer than this program "
                f"(it knows up to {REVISIONS[-1]}). Install the Rollbook that made it, or a newer one."
            )
        return found

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a transaction that is committed at the end of the block, or rolled back by an exception."""
        connection = self._connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
        except Exception as error:
            raise self.engine.explained(error) from error
        try:
            yield Transaction(connection, self.engine.dialect, self._ids)
            self._commit(connection)
        except BaseException as error:
            self._roll_back(connection)
            if isinstance(error, Exception):
                raise self.engine.explained(error) from error
            raise
        self._ids.committed()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open a consistent state of the register for reading."""
        connection = self._connection()
        try:
            connection.execute("BEGIN")
            try:
                yield Snapshot(connection, self.engine.dialect)
            finally:
                connection.execute("ROLLBACK")
        except Exception as error:
            raise self.engine.explained(error) from error

    def _connection(self) -> Connection:
        if self._writer is None:
            self.engine.create_file()
            self._writer = self.engine.open_writer()
        return self._writer

    def faults(self) -> list[str]:
        """Return what the engine's own checks find wrong; empty when all is well."""
        try:
            return self.engine.faults(self._connection())
        except Exception as error:
            raise self.engine.explained(error) from error

    def close(self) -> None:
        """Close what `snapshot` and `transaction` used, and let go of the server's lock."""
        for connection in (self._glancer, *self._readers):
            if connection is not None:
                connection.close()
        if self._writer is not None:
            with contextlib.suppress(Exception):
                self.engine.checkpoint(self._writer)
            self._writer.close()
        if self._watch is not None:
            self._watch.close()
        self._writer = self._glancer = self._watch = None
        self._readers = []
        self.engine.unlock()

    # For an event loop: the servers.

    def start(self, max_waiting: int, upkeep: Callable[[Transaction], int] | None = None) -> None:
        """Start the threads that read and write; as many jobs may wait for each.

        `upkeep` does a part of what transactions owe, and returns how much that was; it is called in quiet
        moments, and whenever too much is owed.
        """
        self._upkeep = upkeep
        connection = self._connection()
        self._glancer = self.engine.open_reader()
        self._watch = self.engine.watch_commits()
        self._writes, self._reads = Queue(max_waiting), Queue(max_waiting)
        self._workers.append(
            Worker(
                "writer",
                self._writes,
                MOST_WRITES_TOGETHER,
                lambda jobs: self._write_and_pay(connection, jobs),
                lambda: self._pay(connection),
            )
        )
        for number in range(READERS):
            self._start_reader(f"reader-{number}", self._reads)
        for worker in self._workers:
            worker.start()

    def _start_reader(self, name: str, jobs: Queue) -> None:
        connection = self.engine.open_reader()
        self._readers.append(connection)
        self._workers.append(
            Worker(name, jobs, MOST_READS_TOGETHER, lambda taken: self._read(connection, taken))
        )

    async def stop(self) -> None:
        """Finish what waits, checkpoint, and close; what comes later is refused."""
        if self._writes is not None and self._reads is not None:
            self._writes.close(1)
            self._reads.close(READERS)
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
        with a value or with the exception that this call shall raise. Raises Unavailable where the
        database cannot do it now; then nothing of it was kept.
        """
        if self._writes is None:
            raise Unavailable("The database is not started.")
        outcome: Out = await self._writes.submit(operation, item)
        return outcome

    async def scrub(self) -> None:
        """Rewrite the database so that nothing of what was deleted is left in its files."""
        if self._writes is None:
            raise Unavailable("The database is not started.")
        await self._writes.submit(_scrub, None)

    def scrub_now(self) -> None:
        """Do the same for one thread."""
        try:
            self.engine.scrub(self._connection())
        except Exception as error:
            raise self.engine.explained(error) from error

    async def read(self, operation: Callable[[Snapshot, In], Out], item: In) -> Out:
        """Do an operation on a consistent state that has everything that was answered before."""
        if self._reads is None:
            raise Unavailable("The database is not started.")
        outcome: Out = await self._reads.submit(operation, item)
        return outcome

    def remembered(self, operation: Callable[[Snapshot, In], Out | None], item: In) -> Out | None:
        """Do a `glance`, and remember its value until anybody, another process included, commits anything;
        None is not remembered.
        """
        if self._watch is None:
            raise Unavailable("The database is not started.")
        if self._watch.has_changed() or len(self._memory) > MOST_REMEMBERED:
            self._memory.clear()
        known: Out | None = self._memory.get((operation, item))
        if known is None:
            known = self.glance(operation, item, several=True)
            if known is not None:
                self._memory[operation, item] = known
        return known

    def glance(self, operation: Callable[[Snapshot, In], Out], item: In, *, several: bool = False) -> Out:
        """Do a read of a few index look-ups at once, on the caller's thread: a change of threads costs
        more than they do. Whatever may scan belongs to `read`. `several` statements see one state.
        """
        connection = self._glancer
        if connection is None:
            raise Unavailable("The database is not started.")
        try:
            if not several:
                return operation(Snapshot(connection, self.engine.dialect, self._memory), item)
            connection.execute("BEGIN")
            try:
                return operation(Snapshot(connection, self.engine.dialect, self._memory), item)
            finally:
                connection.execute("COMMIT")
        except Exception as error:
            raise self.engine.explained(error) from error

    def ready(self) -> None:
        """Raise StorageError unless the database answers and its schema is the program's."""
        connection = self._glancer
        if connection is None:
            raise Unavailable("The database is not started.")
        try:
            found = self.engine.revision(connection)
        except Exception as error:
            raise self.engine.explained(error) from error
        if found != REVISIONS[-1]:
            raise SchemaMismatch(f"The schema is {found}, but this program needs {REVISIONS[-1]}.")

    # On the threads.

    def _write(self, connection: Connection, jobs: list[Job]) -> Sequence[Outcome]:
        """Do the jobs in one transaction; where one breaks it, each in its own."""
        for at, job in enumerate(jobs):
            if job.operation is _scrub:
                # It cannot be a part of a transaction.
                before = self._write(connection, jobs[:at]) if at else []
                return [*before, self._scrubbed(connection), *self._write(connection, jobs[at + 1 :])]
        if not jobs:
            return []
        try:
            connection.execute("BEGIN IMMEDIATE")
        except Exception as error:
            return [self.engine.explained(error)] * len(jobs)
        transaction = Transaction(connection, self.engine.dialect, self._ids)
        try:
            outcomes = self._operate(transaction, jobs)
        except Exception as error:
            self._roll_back(connection)
            if len(jobs) == 1:
                return [self.engine.explained(error)]
            # Which one it was is not known, and the others must not suffer for it.
            return [outcome for job in jobs for outcome in self._write(connection, [job])]
        try:
            self._commit(connection)
        except Exception as error:
            self._roll_back(connection)
            return [self.engine.explained(error)] * len(jobs)
        self._ids.committed()
        self._owed += transaction.owed
        return outcomes

    def _write_and_pay(self, connection: Connection, jobs: list[Job]) -> Sequence[Outcome]:
        """Do the jobs, after a part of what is owed where that is too much."""
        while self._owed > MOST_OWED and self._pay(connection):
            continue
        return self._write(connection, jobs)

    def _pay(self, connection: Connection) -> bool:
        """Do a part of what is owed; say whether more of it is left."""
        if self._upkeep is None:
            return False
        transaction = Transaction(connection, self.engine.dialect, self._ids)
        try:
            connection.execute("BEGIN IMMEDIATE")
            done = self._upkeep(transaction)
            self._commit(connection)
        except Exception:
            # It stays owed, and searches look at what it is about; the next commit tries again.
            self._roll_back(connection)
            return False
        self._ids.committed()
        self._owed = max(0, self._owed - done) if done else 0
        return done > 0

    def _scrubbed(self, connection: Connection) -> Outcome:
        try:
            self.engine.scrub(connection)
        except Exception as error:  # it is the outcome, raised where it is awaited
            return self.engine.explained(error)
        return None

    @staticmethod
    def _operate(transaction: Transaction, jobs: list[Job]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for operation, group in groupby(jobs, key=lambda job: job.operation):
            items = [job.argument for job in group]
            answers = operation(transaction, items)
            if len(answers) != len(items):
                raise RuntimeError(f"{operation.__qualname__} answered {len(answers)} of {len(items)} items")
            outcomes.extend(answers)
        return outcomes

    def _read(self, connection: Connection, jobs: list[Job]) -> Sequence[Outcome]:
        """Do the jobs on one snapshot; it begins after each of them was asked for."""
        outcomes: list[Outcome] = []
        try:
            connection.execute("BEGIN")
            for job in jobs:
                try:
                    outcomes.append(job.operation(Snapshot(connection, self.engine.dialect), job.argument))
                except Exception as error:  # it is the outcome, raised where it is awaited
                    outcomes.append(self.engine.explained(error))
            connection.execute("COMMIT")
        except Exception as error:  # likewise, for all of them
            self._roll_back(connection)
            return [self.engine.explained(error)] * len(jobs)
        return outcomes

    def _commit(self, connection: Connection) -> None:
        connection.execute("COMMIT")

    def _roll_back(self, connection: Connection) -> None:
        self._ids.rolled_back()
        # SQLite has rolled back by itself after some errors, and then refuses to do it again.
        with contextlib.suppress(Exception):
            connection.execute("ROLLBACK")


def _scrub(*_: Any) -> None:
    """Mark the job that rewrites the database; the writer does it by itself."""
