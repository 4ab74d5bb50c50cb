"""Carries whole tables out of PostgreSQL or into it: a state read row by row, and COPY."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import suppress
from typing import Any

from rollbook.storage.postgresql_connection import PostgreSQLConnection
from rollbook.storage.postgresql_session import BEGIN_READING, NOTE_CHANGE
from rollbook.storage.statements import Row
from rollbook.storage.tables import REMEMBERED

# A number of our own for the advisory lock: the first bytes of "rollbook".
COPYING = 0x726F6C6C
NO_TIMEOUTS = (b"SET statement_timeout = 0", b"SET idle_in_transaction_session_timeout = 0")
ROWS_STREAMED = 500


class PostgreSQLCarrier:
    """A connection of its own, with the lock of those who copy, which writers have `alone`.

    The lock ends with the connection; that of one who was killed, as soon as the server notices.
    """

    def __init__(self, connection: PostgreSQLConnection, *, alone: bool) -> None:
        self._connection = connection
        # Building an index, or copying a portion, takes as long as it takes.
        connection.longest_answer_seconds = None
        try:
            for setting in NO_TIMEOUTS:
                connection.execute(setting)
            connection.execute(f"SELECT pg_advisory_lock{'' if alone else '_shared'}({COPYING})".encode())
        except Exception:
            connection.close()
            raise

    def begin(self) -> bool:
        """Begin to write."""
        self._connection.execute(b"BEGIN")
        return True

    def begin_reading(self) -> None:
        """Begin to read one consistent state."""
        self._connection.execute(BEGIN_READING.encode())

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run a statement and return its rows."""
        return self._connection.execute(sql.encode(), parameters).fetchall()

    def order(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement that returns no rows."""
        self._connection.execute(sql.encode(), parameters)

    def stream(self, sql: str, parameters: Sequence[Any] = ()) -> Generator[Row, None, None]:
        """Run a statement and return its rows as they are read."""
        with self._connection.cursor() as cursor:
            yield from cursor.stream(sql.encode(), parameters, size=ROWS_STREAMED)

    def load(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert many rows, by COPY."""
        with self._connection.cursor() as cursor:
            with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()) as copy:
                for row in rows:
                    copy.write_row(row)

    def settle(self) -> None:
        """Let the planner know what is in the tables now."""
        self._connection.execute(b"VACUUM (ANALYZE, SKIP_LOCKED)")

    def commit(self, changed: Iterable[str] = ()) -> None:
        """Keep what was written, on disk; servers forget what they remember of the tables `changed`."""
        if not REMEMBERED.isdisjoint(changed):
            self._connection.execute(NOTE_CHANGE.encode())
        self._connection.execute(b"COMMIT")

    def roll_back(self) -> None:
        """Undo what was written, or end reading."""
        with suppress(Exception):
            self._connection.rollback()

    def close(self) -> None:
        """Undo what is open, and let go of the lock."""
        self._connection.close()
