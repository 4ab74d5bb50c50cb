"""A thread's way to PostgreSQL: its transactions, and how they are told from those of another attempt."""

import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from psycopg_pool import ConnectionPool

from rollbook.storage.dialects import UNSTORABLE
from rollbook.storage.statements import Row
from rollbook.storage.tables import REMEMBERED

RV = TypeVar("RV")

# A database that says nothing for so long is taken for away: on the whole, and where a read may scan.
LONGEST_ANSWER_SECONDS, LONGEST_READ_SECONDS = 15.0, 65.0

BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
CHANGES = "SELECT number FROM remembered_changes WHERE id = 1"
NOTE_CHANGE = "UPDATE remembered_changes SET number = number + 1 WHERE id = 1"
# The row lock makes a second attempt wait for the end of the first, which the server may still be about.
NOTE_WRITE = (
    "INSERT INTO writers (id, last_write, wrote_at) VALUES ($1, $2, CURRENT_TIMESTAMP) "
    "ON CONFLICT (id) DO UPDATE SET last_write = excluded.last_write, wrote_at = excluded.wrote_at "
    "WHERE writers.last_write < excluded.last_write "
    "RETURNING (SELECT number FROM remembered_changes WHERE id = 1)"
)
FORGET_WRITERS = "DELETE FROM writers WHERE wrote_at < CURRENT_TIMESTAMP - INTERVAL '7 days'"
# What only adds contacts locks the row less than this, by its foreign key.
LOCK_SITE = "SELECT id FROM sites WHERE id = $1 FOR NO KEY UPDATE"

# Where the number of changes has not been asked for.
NOT_ASKED = -1

LOCK_BEGINNING = "SELECT kind FROM id_leases WHERE kind = 'sites' FOR UPDATE"


class BoundedConnection(psycopg.Connection[Row]):
    """A connection that is given up where the database says nothing for too long.

    A timeout of a statement is the database's own, and no help where that hangs, or the network swallows
    what is sent.
    """

    longest_answer_seconds: float | None = LONGEST_ANSWER_SECONDS

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait for an answer; raise OperationalError, and close, where none comes in time."""
        try:
            return super().wait(gen, interval, timeout or self.longest_answer_seconds)
        except errors._WaitTimeout:
            self.close()
            raise psycopg.OperationalError("the database does not answer") from None


class PostgreSQLSession:
    """A thread's way to the database: a connection of the pool for each transaction.

    A transaction is a pipeline: what returns nothing is sent with what comes next, so that the first and the
    last statements cost no turn of their own. `limits` are set in each. It `may_look` by statements that are
    transactions of their own.
    """

    def __init__(
        self,
        pool: "ConnectionPool[BoundedConnection]",
        begin: str,
        limits: Sequence[tuple[str, int]] = (),
        *,
        may_look: bool,
    ) -> None:
        self._pool = pool
        self._begin_writing = begin
        self._may_look = may_look
        self._limits = [f"SET LOCAL {name} = {value}" for name, value in limits]
        self._connection: BoundedConnection | None = None
        self._pipeline: Any = None
        self._is_transaction = False
        # Unique among the writers of all servers; see `begin`.
        self.writer_id = secrets.token_hex(16)
        self._writes = 0
        # A transaction's first question answers the number of changes, one that writes notes itself by it.
        self._asked_first: psycopg.Cursor[Row] | None = None
        self._changes = self._proven_changes = NOT_ASKED
        self._is_noted = True

    def begin(self, again: bool = False) -> bool:
        """Begin to write; `again` for another attempt at the same work.

        Each transaction leaves its number in the writer's row. So another attempt can tell whether the one
        before it was committed, though its connection was lost before the answer came.
        """
        if not again:
            self._writes += 1
        self._begin(self._begin_writing)
        if self._writes == 1:
            self._execute(FORGET_WRITERS)
        self._asked_first = self._execute(NOTE_WRITE, (self.writer_id, self._writes))
        if again:
            self._hear_first()
            if not self._is_noted:
                self.roll_back()
                return False
        return True

    def _hear_first(self) -> None:
        """Take the answer to the first question, which came with what else was asked."""
        asked, self._asked_first = self._asked_first, None
        if asked is not None:
            rows = asked.fetchall()
            # Where another attempt at the same work has left its number, there is no row.
            self._is_noted = bool(rows)
            self._changes = _number(rows)

    def begin_reading(self) -> None:
        """Begin to read one consistent state."""
        self._begin(BEGIN_READING)
        self._asked_first = self._execute(CHANGES)
        if self._connection is not None:
            self._connection.longest_answer_seconds = LONGEST_READ_SECONDS

    def begin_looking(self) -> None:
        """Begin to read by statements each of which sees a state of its own, later than the one before."""
        if not self._may_look:
            self.begin_reading()
            return
        self._connection = self._pool.getconn()
        self._connection.longest_answer_seconds = LONGEST_READ_SECONDS
        self._changes = NOT_ASKED

    @property
    def changes(self) -> int:
        """How often anybody has changed what servers remember; outside of a transaction as of now."""
        if self._connection is None:
            with self._pool.connection() as connection:
                connection.longest_answer_seconds = LONGEST_READ_SECONDS
                return _number(connection.execute(CHANGES.encode()).fetchall())
        if not self._is_transaction and self._changes == NOT_ASKED:
            self._changes = _number(self._execute(CHANGES).fetchall())
        self._hear_first()
        return self._changes

    @property
    def is_current(self) -> bool:
        """Whether nobody has changed what servers remember since one last asked."""
        before, self._proven_changes = self._proven_changes, self.changes
        return before == self._proven_changes

    def lock_site(self, site_id: int) -> None:
        """Keep other writers from a site until the end, but for what only adds contacts."""
        self._execute(LOCK_SITE, (site_id,)).fetchall()

    def lock_beginning(self) -> None:
        """Keep others who call this waiting until the end."""
        self._execute(LOCK_BEGINNING).fetchall()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run a statement and return its rows; outside of a transaction it is one by itself."""
        if self._connection is None:
            with self._pool.connection() as connection:
                return connection.execute(sql.encode(), parameters).fetchall()
        if not self._is_transaction:
            # They are of a later state than what was asked before.
            self._changes = NOT_ASKED
        return self._execute(sql, parameters).fetchall()

    def order(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement that returns no rows; what is wrong with it may be raised by a later call."""
        self._execute(sql, parameters)

    def commit(self, changed: Iterable[str] = ()) -> None:
        """Keep what was written, on disk, or end reading.

        Raises the driver's error; one of a lost connection leaves open whether the commit took place.
        """
        if not self._is_transaction:
            self._give_back()
            return
        if not REMEMBERED.isdisjoint(changed):
            self._execute(NOTE_CHANGE)
        self._hear_first()
        if not self._is_noted:
            # It was so long on its way that another attempt overtook it.
            raise errors.TransactionRollback("another attempt at the same work was committed")
        ended = self._execute("COMMIT")
        self._leave_pipeline()
        if ended.statusmessage != "COMMIT":
            raise errors.TransactionRollback("the transaction was rolled back by an earlier error")
        self._give_back()

    def roll_back(self) -> None:
        """Undo what was written; a connection that is of no more use is given up."""
        self._asked_first = None
        if self._connection is None:
            return
        with suppress(Exception):
            self._leave_pipeline()
        with suppress(Exception):
            self._connection.rollback()
            if _cannot_write(self._connection):
                self._connection.close()
        self._give_back()

    def close(self) -> None:
        """Undo what is open."""
        self.roll_back()

    def _begin(self, sql: str) -> None:
        self._connection = self._pool.getconn()
        self._connection.longest_answer_seconds = LONGEST_ANSWER_SECONDS
        self._is_transaction = True
        self._pipeline = self._connection.pipeline()
        self._pipeline.__enter__()
        self._execute(sql)
        for limit in self._limits:
            self._execute(limit)

    def _execute(self, sql: str, parameters: Sequence[Any] = ()) -> "psycopg.Cursor[Row]":
        if self._connection is None:
            raise RuntimeError("no transaction is open")
        try:
            return self._connection.execute(sql.encode(), parameters)
        except psycopg.DataError:
            # A text with U+0000, which is found out before anything is sent; no stored text holds it.
            return self._connection.execute(sql.encode(), list(map(_sendable, parameters)))

    def _leave_pipeline(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.__exit__(None, None, None)

    def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        self._is_transaction = False
        if connection is not None:
            self._pool.putconn(connection)


def _number(rows: list[Row]) -> int:
    return int(rows[0][0]) if rows else NOT_ASKED


def _sendable(value: Any) -> Any:
    """Return a value with what stands for U+0000, which no stored text holds."""
    return value.replace("\0", UNSTORABLE) if isinstance(value, str) else value


def _cannot_write(connection: "psycopg.Connection[Row]") -> bool:
    """Say whether a connection is one for reading, and will stay that when the database can write again.

    PostgreSQL 14 and later tell both; a connection keeps the first as it was when it began, and leads to a
    server that has become another's copy by the second.
    """
    status = connection.info.parameter_status
    return "on" in (status("default_transaction_read_only"), status("in_hot_standby"))
