"""A way to PostgreSQL: its transactions, and how they are told from those of another attempt."""

import secrets
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from psycopg import errors
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg_pool import ConnectionPool

from rollbook.storage import on_loop, postgresql_connection
from rollbook.storage.postgresql_connection import Asked, PostgreSQLConnection
from rollbook.storage.statements import Row
from rollbook.storage.tables import REMEMBERED

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

# How long a session that is used keeps a connection before the pool may give it another.
LONGEST_KEPT_SECONDS = 600.0

LOCK_BEGINNING = "SELECT kind FROM id_leases WHERE kind = 'sites' FOR UPDATE"


class PostgreSQLSession:
    """A way to the database: one transaction after another, on a connection of the pool that it keeps.

    What returns nothing is sent with what comes next, so that the first and the last statements of a
    transaction cost no turn of their own. `limits` are set in each. It `may_look` by statements that are
    transactions of their own.
    """

    def __init__(
        self,
        pool: "ConnectionPool[PostgreSQLConnection]",
        begin: str,
        limits: Sequence[tuple[str, int]] = (),
        *,
        may_look: bool,
    ) -> None:
        self._pool = pool
        self._begin_writing = begin
        self._may_look = may_look
        self._limits = [Asked(f"SET LOCAL {name} = {value}") for name, value in limits]
        self._connection: PostgreSQLConnection | None = None
        self._kept: PostgreSQLConnection | None = None
        self._kept_until = 0.0
        self._is_transaction = False
        # What the next message begins with, and the place in it of the question for the number of changes.
        self._unsent: list[Asked] = []
        self._place_of_changes: int | None = None
        # Unique among the writers of all servers; see `begin`.
        self.writer_id = secrets.token_hex(16)
        self._writes = 0
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
            self._unsent.append(Asked(FORGET_WRITERS))
        self._ask_for_changes(Asked(NOTE_WRITE, (self.writer_id, self._writes)))
        if again:
            self._hear_changes()
            if not self._is_noted:
                self.roll_back()
                return False
        return True

    def begin_reading(self) -> None:
        """Begin to read one consistent state."""
        self._begin(BEGIN_READING)
        self._ask_for_changes(Asked(CHANGES))
        if self._connection is not None:
            self._connection.longest_answer_seconds = postgresql_connection.LONGEST_READ_SECONDS

    def begin_looking(self) -> None:
        """Begin to read by statements each of which sees a state of its own, later than the one before."""
        if not self._may_look:
            self.begin_reading()
            return
        self._connection = self._take()
        self._connection.longest_answer_seconds = postgresql_connection.LONGEST_READ_SECONDS
        self._changes = NOT_ASKED

    @property
    def changes(self) -> int:
        """How often anybody has changed what servers remember; outside of a transaction as of now."""
        if self._connection is None:
            return _number(self._alone(CHANGES))
        if self._is_transaction:
            self._hear_changes()
        elif self._changes == NOT_ASKED:
            self._changes = _number(self._connection.rows(CHANGES))
        return self._changes

    @property
    def is_current(self) -> bool:
        """Whether nobody has changed what servers remember since one last asked."""
        before, self._proven_changes = self._proven_changes, self.changes
        return before == self._proven_changes

    def lock_site(self, site_id: int) -> None:
        """Keep other writers from a site until the end, but for what only adds contacts."""
        # Waits for locks add up, and a message has one time for all that it asks.
        if any(each.sql == LOCK_SITE for each in self._unsent):
            self._send()
        self.order(LOCK_SITE, (site_id,))

    def lock_beginning(self) -> None:
        """Keep others who call this waiting until the end."""
        self.order(LOCK_BEGINNING)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run a statement and return its rows; outside of a transaction it is one by itself."""
        if self._connection is None:
            return self._alone(sql, parameters)
        if self._is_transaction:
            self._unsent.append(Asked(sql, parameters))
            return self._connection.rows_of(self._send()[-1])
        # The number, asked for after the rows, is not of an earlier state than they are.
        rows, changes = self._connection.exchange((Asked(sql, parameters), Asked(CHANGES)))
        self._changes = _number(self._connection.rows_of(changes))
        return self._connection.rows_of(rows)

    def order(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement that returns no rows; what is wrong with it may be raised by a later call."""
        if not self._is_transaction:
            raise RuntimeError("no transaction is open")
        self._unsent.append(Asked(sql, parameters))

    def commit(self, changed: Iterable[str] = ()) -> None:
        """Keep what was written, on disk, or end reading.

        Raises the driver's error; one of a lost connection leaves open whether the commit took place.
        """
        if not self._is_transaction:
            self._give_back()
            return
        self._hear_changes()
        if not self._is_noted:
            # It was so long on its way that another attempt overtook it.
            raise errors.TransactionRollback("another attempt at the same work was committed")
        if not REMEMBERED.isdisjoint(changed):
            self._unsent.append(Asked(NOTE_CHANGE))
        self._unsent.append(Asked("COMMIT"))
        if self._send()[-1].command_status != b"COMMIT":
            raise errors.TransactionRollback("the transaction was rolled back by an earlier error")
        self._give_back()

    def roll_back(self) -> None:
        """Undo what was written; a connection that is of no more use is given up."""
        self._unsent.clear()
        self._place_of_changes = None
        connection = self._connection
        if connection is None:
            return
        with suppress(Exception):
            if connection.pgconn.transaction_status != TransactionStatus.IDLE:
                connection.exchange([Asked("ROLLBACK")])
            if _cannot_write(connection):
                connection.close()
        self._give_back()

    def close(self) -> None:
        """Undo what is open."""
        self.roll_back()
        kept, self._kept = self._kept, None
        if kept is not None:
            self._put_back(kept)

    def _begin(self, sql: str) -> None:
        self._connection = self._take()
        self._connection.longest_answer_seconds = postgresql_connection.LONGEST_ANSWER_SECONDS
        self._is_transaction = True
        self._unsent = [Asked(sql), *self._limits]

    def _ask_for_changes(self, asked: Asked) -> None:
        self._place_of_changes = len(self._unsent)
        self._unsent.append(asked)

    def _hear_changes(self) -> None:
        """Have the number of changes, which comes with the answer to what else was asked first."""
        if self._place_of_changes is not None:
            self._send()

    def _send(self) -> list[PGresult]:
        """Send what waits, and return the results."""
        if self._connection is None:
            raise RuntimeError("no transaction is open")
        unsent, self._unsent = self._unsent, []
        results = self._connection.exchange(unsent)
        place, self._place_of_changes = self._place_of_changes, None
        if place is not None:
            rows = self._connection.rows_of(results[place])
            # Where another attempt at the same work has left its number, there is no row.
            self._is_noted = bool(rows)
            self._changes = _number(rows)
        return results

    def _alone(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run a statement that is a transaction by itself, and return its rows."""
        self._connection = self._take()
        self._connection.longest_answer_seconds = postgresql_connection.LONGEST_READ_SECONDS
        try:
            return self._connection.rows(sql, parameters)
        finally:
            self._give_back()

    def _take(self) -> PostgreSQLConnection:
        kept, self._kept = self._kept, None
        if kept is not None:
            return kept
        self._kept_until = time.monotonic() + LONGEST_KEPT_SECONDS
        return on_loop.elsewhere(self._pool.getconn)

    def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        self._is_transaction = False
        if connection is None:
            return
        is_idle = connection.pgconn.transaction_status == TransactionStatus.IDLE
        if is_idle and time.monotonic() < self._kept_until:
            self._kept = connection
        else:
            self._put_back(connection)

    def _put_back(self, connection: PostgreSQLConnection) -> None:
        connection.leave_loop()
        self._pool.putconn(connection)


def _number(rows: list[Row]) -> int:
    return int(rows[0][0]) if rows else NOT_ASKED


def _cannot_write(connection: PostgreSQLConnection) -> bool:
    """Say whether a connection is one for reading, and will stay that when the database can write again.

    PostgreSQL 14 and later tell both; a connection keeps the first as it was when it began, and leads to a
    server that has become another's copy by the second.
    """
    status = connection.info.parameter_status
    return "on" in (status("default_transaction_read_only"), status("in_hot_standby"))
