"""The one page of storage that the register and the doors see: open, read, write."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rollbook.storage.debts import Upkeep
from rollbook.storage.engines import Engine, NearSession, Session, explaining, raise_explained
from rollbook.storage.faults import SchemaMismatch, Unavailable, UnfinishedCopy
from rollbook.storage.near_writer import NearWriter
from rollbook.storage.reading_together import answer_together, changes_seen
from rollbook.storage.tables import REVISIONS, UNFINISHED
from rollbook.storage.transactions import MOST_REMEMBERED, Snapshot, TakesLong, Transaction
from rollbook.storage.workers import Queue, Work
from rollbook.storage.writing import Writer, scrub

if TYPE_CHECKING:
    from rollbook.storage.far_writer import FarWriter
    from rollbook.storage.scrubber import Scrubber
    from rollbook.storage.upkeep_thread import UpkeepThread

READY_SECONDS = 2

In = TypeVar("In")
Out = TypeVar("Out")


class Database:
    """The register's database, for one thread at a time with `snapshot` and `transaction`, or, once
    `start` was called, for an event loop with `read`, `glance`, `remembered` and `write`. One that
    `only_reads` is there already, and stays as it is.
    """

    def __init__(self, engine: Engine, *, only_reads: bool = False) -> None:
        self.engine = engine
        self._only_reads = only_reads
        self._writer: Writer | None = None
        self._glancer: Session | None = None
        self._sessions: list[Session] = []
        self._upkeep: UpkeepThread | None = None
        self._scrubber: Scrubber | None = None
        self._writes: NearWriter | FarWriter | None = None
        self._reads: Queue | None = None
        self._memory: dict[tuple[Any, Any], Any] = {}
        # Of a database that is not near: the number of changes of what is remembered, and who asks for it.
        self._changes_known = -1
        self._asking: asyncio.Future[int] | None = None
        self._turn_asked = 0

    # For one thread: the command line, the start of a server, tests.

    def revision(self) -> str | None:
        """Return the revision of the schema, or None for an empty database; raise where it is newer."""
        with explaining(self.engine):
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
        writer = self._opened()
        with explaining(self.engine), writer.transaction() as transaction:
            yield transaction

    def do(self, work: Callable[[Transaction], Out]) -> Out:
        """Do work in a transaction, committed before this returns; again where the database undid it for
        reasons that may pass.
        """
        with explaining(self.engine):
            return self._opened().do(work)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open a consistent state of the register for reading."""
        session = self._session()
        with explaining(self.engine):
            session.begin_reading()
            try:
                yield Snapshot(session, self.engine.dialect)
            finally:
                session.roll_back()

    def _opened(self) -> Writer:
        if self._writer is None and self._only_reads:
            self._writer = Writer(self.engine, self.engine.open_onlooker())
        elif self._writer is None:
            self.engine.prepare()
            self._writer = Writer(self.engine, self.engine.open_writer())
        return self._writer

    def _session(self) -> Session:
        return self._opened().session

    def faults(self) -> list[str]:
        """Return what the engine's own checks find wrong; empty when all is well."""
        with explaining(self.engine):
            return self.engine.faults(self._session())

    def close(self) -> None:
        """Close what `snapshot` and `transaction` used, and let go of the server's lock."""
        writer = None if self._writer is None else self._writer.session
        for session in (self._glancer, *self._sessions, writer):
            if session is not None:
                session.close()
        self._writer = self._glancer = None
        self._sessions = []
        self.engine.close()

    def scrub_now(self) -> None:
        """Have nothing left of what was deleted, as far as the database can do that without waiting long for
        others.
        """
        with explaining(self.engine):
            self.engine.scrub(self._session(), is_hurried=True)

    # For an event loop: the servers.

    def start(self, max_waiting: int, upkeep: Upkeep | None = None) -> None:
        """Start what reads and what writes, on the running loop; as many jobs may wait for each. `upkeep`
        does what transactions owe.
        """
        writer = self._opened()
        if self.engine.is_near:
            self._glancer = self.engine.open_reader()
        if isinstance(writer.session, NearSession) and isinstance(self._glancer, NearSession):
            writer.upkeep = upkeep
            if upkeep is not None:
                with self.snapshot() as snapshot:
                    writer.owed = upkeep.owed(snapshot)
            self._writes = NearWriter(writer, writer.session, self._glancer, max_waiting)
        else:
            self._start_far(writer, max_waiting, upkeep)
        self._reads = self.engine.queue(max_waiting, [self._reader() for _ in range(self.engine.readers)])

    def _start_far(self, writer: Writer, max_waiting: int, upkeep: Upkeep | None) -> None:
        # Nothing of it is needed where the database is near.
        from rollbook.storage.far_writer import FarWriter  # noqa: PLC0415
        from rollbook.storage.scrubber import Scrubber  # noqa: PLC0415
        from rollbook.storage.upkeep_thread import UpkeepThread  # noqa: PLC0415

        writer_on_loop = self._another_writer()
        if upkeep is not None:
            self._upkeep = UpkeepThread(self._another_writer(), upkeep)
            self._upkeep.start()
            writer.beside = writer_on_loop.beside = self._upkeep
        self._scrubber = Scrubber(self._another_writer(), max_waiting)
        self._writes = FarWriter(writer_on_loop, writer, max_waiting)

    def _another_writer(self) -> Writer:
        session = self.engine.open_writer()
        self._sessions.append(session)
        return Writer(self.engine, session)

    def _reader(self) -> Work:
        session = self.engine.open_reader()
        self._sessions.append(session)
        memory: dict[tuple[Any, Any], Any] = {}
        return lambda jobs: answer_together(self.engine, session, memory, jobs)

    async def stop(self) -> None:
        """Finish what waits, checkpoint, and close; what comes later is refused. Of a `start` that failed, it
        ends what had begun.
        """
        if self._upkeep is not None:
            self._upkeep.stop()
        if self._scrubber is not None:
            # Before: who has waited for it writes that it is done.
            await self._scrubber.stop()
        await asyncio.gather(*(each.stop() for each in (self._reads, self._writes) if each is not None))
        if self._upkeep is not None:
            await asyncio.to_thread(self._upkeep.join)
        self._writes = self._reads = self._upkeep = self._scrubber = None
        self._memory.clear()
        # Turns are counted anew after another start, and this is the answer of one of those before.
        self._asking = None
        self.close()

    def write(
        self,
        operation: Callable[[Transaction, list[In]], Sequence[Out | Exception]],
        item: In,
        *,
        is_short: bool = False,
        as_of: int | None = None,
        then: Callable[[Out], Any] | None = None,
    ) -> "asyncio.Future[Any]":
        """Do an operation on an item; what is made of its outcome by `then`, where that is given, is there
        once it is committed.

        The operation takes a list, for items that wait together are done together: it answers for each
        with a value or with the exception that this call shall raise. It may be done again from the start
        where the database undid it. It `is_short` if it does no more than a few look-ups by indexes and
        writes a few rows. `then` is called on the loop's thread, while the disk is waited for where that can
        be, and again with another outcome where the operation is done again. `as_of` is the number of changes
        of an unproven memory that the item was prepared by (`recalled`); where there were others since,
        nothing is done and Outdated is raised. Raises Unavailable where the database cannot do it now; then
        nothing of it was kept, unless the database went away before it told the outcome.
        """
        if self._writes is None:
            raise Unavailable("The database is not started.")
        return self._writes.submit(operation, item, is_short=is_short, as_of=as_of, then=then)

    async def scrub(self) -> None:
        """Have nothing left of what was deleted, as far as the database can do that. Other writes wait for it
        where the database has one writer alone.
        """
        if self._writes is None:
            raise Unavailable("The database is not started.")
        await (self._writes.submit(scrub, None) if self._scrubber is None else self._scrubber.submit())

    async def read(
        self,
        operation: Callable[[Snapshot, In], Out],
        item: In,
        *,
        is_look: bool = False,
        as_of: int | None = None,
    ) -> Out:
        """Do an operation on a consistent state that has everything that was answered before.

        It `is_look` if it reads by one statement as a rule, and can be done again where it does not.
        `as_of` is the number of changes of an unproven memory that the item was prepared by (`recalled`);
        where the state has another, Outdated is raised. So it is for all that follow.
        """
        if self._reads is None:
            raise Unavailable("The database is not started.")
        outcome: Out = await self._reads.submit(operation, item, is_look=is_look, as_of=as_of)
        return outcome

    async def remembered(self, operation: Callable[[Snapshot, In], Out | None], item: In) -> Out | None:
        """Do a `glance`, and remember its value until anybody, another process included, commits what may
        change it; None is not remembered.
        """
        if not await self._is_memory_current() or len(self._memory) > MOST_REMEMBERED:
            self._memory.clear()
        known: Out | None = self._memory.get((operation, item))
        if known is None:
            changes = self._changes_known
            known = await self.glance(operation, item, several=True)
            # Others may have learnt meanwhile of a change that this look came before.
            if known is not None and changes == self._changes_known:
                self._memory[operation, item] = known
        return known

    def remembered_now(self, operation: Callable[[Snapshot, In], Out | None], item: In) -> Out | None:
        """Return what is remembered of a `glance` where the database is near, and nobody has committed since
        what may change it; else None.
        """
        if self._glancer is None:
            return None
        if not self._glancer.is_current:
            self._memory.clear()
        found: Out | None = self._memory.get((operation, item))
        return found

    def recalled(self, operation: Callable[[Snapshot, In], Out | None], item: In) -> tuple[Out, int] | None:
        """Return what is remembered of a `glance`, and the number of changes that it is as of; None where
        nothing is. It is for a database that is not near, for a near one proves it at once (`remembered`).

        Whoever goes by it has it proven before anybody hears of it: by a read or a write `as_of` that number,
        or by `is_still`.
        """
        known: Out | None = self._memory.get((operation, item))
        return None if known is None else (known, self._changes_known)

    async def is_still(self, as_of: int) -> bool:
        """Say whether nobody has changed what is remembered since there were so many changes."""
        if not await self._is_memory_current():
            self._memory.clear()
        return self._changes_known == as_of

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
        self,
        operation: Callable[[Snapshot, In], Out],
        item: In,
        *,
        several: bool = False,
        as_of: int | None = None,
    ) -> Out:
        """Do a read of a few index look-ups at once, on the caller's thread where the database is near:
        a change of threads costs more than they do. Whatever may scan belongs to `read`. `several`
        statements see one state.
        """
        if self._glancer is None:
            return await self.read(operation, item, is_look=not several, as_of=as_of)
        return self._near(self._glancer, operation, item, several)

    async def glance_or_read(
        self,
        operation: Callable[[Snapshot, In], Out],
        item: In,
        *,
        several: bool = False,
        as_of: int | None = None,
    ) -> Out:
        """Do a read that may turn out to be a `glance`, as such where it does not raise TakesLong; where the
        database is not near, as one statement if it can be, unless it is known to take `several`.

        Not while anything is owed: a search looks at the texts of all that its index does not have yet.
        """
        if self._glancer is not None and self._writer is not None and not self._writer.owed:
            with contextlib.suppress(TakesLong):
                return self._near(self._glancer, operation, item, several=True, is_hurried=True)
        is_look = self._glancer is None and not several
        return await self.read(operation, item, is_look=is_look, as_of=as_of)

    async def glance_at_each(
        self,
        operation: Callable[[Snapshot, list[In]], Sequence[Out]],
        item: In,
        *,
        several: bool = False,
        as_of: int | None = None,
    ) -> Out:
        """Do a `glance` by an operation that takes a list: where the database is not near, those that wait
        together look together.
        """
        if self._glancer is not None:
            return self._near(self._glancer, operation, [item], several)[0]
        if self._reads is None:
            raise Unavailable("The database is not started.")
        outcome: Out = await self._reads.submit(
            operation, item, takes_list=True, is_look=not several, as_of=as_of
        )
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
                outcome = operation(snapshot, item)
            except BaseException:
                session.roll_back()
                raise
            session.commit()
            return outcome
        except Exception as error:
            # By itself: this is the way of every read of a near database.
            raise_explained(self.engine, error)

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
