"""PostgreSQL: how it is reached, how its transactions begin and end, and which of its faults pass."""

import random
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import errors
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import StrDumperUnknown
from psycopg_pool import ConnectionPool, PoolTimeout
from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from rollbook.storage import references
from rollbook.storage.engines import Carrier, Session
from rollbook.storage.faults import StorageError, Unavailable
from rollbook.storage.search_index import Question
from rollbook.storage.statements import Row

# Statements are compiled for it, and executed by the driver.
POSTGRESQL: Dialect = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]

READERS = 2
# A free connection or a new one is there within these seconds, or the database counts as away.
LONGEST_CONNECT_SECONDS = 5
LOCK_MILLISECONDS = 5_000
STATEMENT_MILLISECONDS = 60_000
# How long a transaction is tried again: from one pause to the next up to twice as long, with jitter, so that
# those who met once do not meet again.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, PATIENCE_SECONDS = 0.01, 0.8, 6.0

# Of the tables whose content servers remember between requests. A new token changes nothing that anybody
# remembers, for what is unknown is not remembered.
REMEMBERED = frozenset({"keys", "key_sites", "users", "sites", "custom_fields", "tokens"})

BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
CHANGES = "SELECT number FROM remembered_changes WHERE id = 1"
NOTE_CHANGE = "UPDATE remembered_changes SET number = number + 1 WHERE id = 1"
# The row lock makes a second attempt wait for the end of the first, which the server may still be about.
NOTE_WRITE = (
    "INSERT INTO writers (id, last_write, wrote_at) VALUES ($1, $2, CURRENT_TIMESTAMP) "
    "ON CONFLICT (id) DO UPDATE SET last_write = excluded.last_write, wrote_at = excluded.wrote_at "
    "WHERE writers.last_write < excluded.last_write RETURNING last_write"
)
FORGET_WRITERS = "DELETE FROM writers WHERE wrote_at < CURRENT_TIMESTAMP - INTERVAL '7 days'"
# What only adds contacts locks the row less than this, by its foreign key.
LOCK_SITE = "SELECT id FROM sites WHERE id = $1 FOR NO KEY UPDATE"

# Tables where deleted people may have left bytes.
SCRUBBED = (
    "contacts, contact_search, search_backlog, contact_taggings, contact_notes, consent_events, kept_answers"
)

# Classes and codes of SQLSTATE that pass: connection, resources, operator, serialization, locks, read-only.
PASSING_CLASSES = ("08", "53", "57", "40")
PASSING_CODES = frozenset({"55P03", "25006", "58030"})
# Two transactions wanted the same: the one that lost sees the other's rows when it is done again.
COLLISIONS = (errors.UniqueViolation, errors.ForeignKeyViolation)


class PostgreSQL:
    """One PostgreSQL database: makes its sessions from a pool, and knows what its errors mean."""

    dialect = POSTGRESQL
    advice = "Stop the servers, keep a dump of the database (pg_dump), and restore a backup."
    readers = READERS
    most_reads_together = 32
    is_near = False

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: ConnectionPool[psycopg.Connection[Row]] | None = None

    @property
    def name(self) -> str:
        """The database as messages name it: without a password."""
        try:
            parts = psycopg.conninfo.conninfo_to_dict(self._url)
        except psycopg.Error:
            return "that ROLLBOOK_DATABASE names"
        port = f", port {parts['port']}" if "port" in parts else ""
        return f"{parts.get('dbname', '')} on {parts.get('host', 'this machine')}{port}"

    def is_there(self) -> bool:
        """Say yes: `prepare` tells where it is not."""
        return True

    def prepare(self) -> None:
        """Open the pool; raise StorageError where the database cannot be reached."""
        if self._pool is not None:
            return
        try:
            with self.connect():
                pass
        except psycopg.Error as error:
            raise StorageError(
                f"The database {self.name} cannot be used: {_sentence(error)} Check ROLLBOOK_DATABASE "
                "(postgresql://<user>:<password>@<host>/<database>), that the server runs, and that the "
                "database exists."
            ) from None
        self._pool = ConnectionPool(
            self._url,
            kwargs=CONNECTION,
            configure=_configure,
            min_size=1,
            max_size=READERS + 4,
            timeout=LONGEST_CONNECT_SECONDS,
            reconnect_timeout=LONGEST_CONNECT_SECONDS,
            name="rollbook",
            open=True,
        )

    def connect(self) -> "psycopg.Connection[Row]":
        """Return a connection outside of the pool."""
        connection = psycopg.connect(self._url, **CONNECTION)
        _configure(connection)
        return connection

    def lock_for_server(self) -> None:
        """Do nothing: many servers may serve one database."""

    def open_writer(self) -> "PostgreSQLSession":
        """Return a session that may write."""
        return PostgreSQLSession(self._opened())

    def open_reader(self) -> "PostgreSQLSession":
        """Return a session for reading."""
        return PostgreSQLSession(self._opened())

    def open_carrier(self, *, writing: bool) -> Carrier:
        """Return a way to carry tables, with a lock that those who copy from it share."""
        # Seldom asked for.
        from rollbook.storage.postgresql_carrier import PostgreSQLCarrier  # noqa: PLC0415

        self.prepare()
        try:
            return PostgreSQLCarrier(self.connect(), alone=writing)
        except errors.LockNotAvailable:
            raise StorageError(
                f"The database {self.name} is copied already, or is both FROM and TO. Wait for the other "
                "`rollbook db copy`, or name two databases."
            ) from None

    def _opened(self) -> "ConnectionPool[psycopg.Connection[Row]]":
        if self._pool is None:
            self.prepare()
        if self._pool is None:
            raise StorageError(f"The database {self.name} is closed.")
        return self._pool

    def pauses(self) -> Iterator[float]:
        """Return how long to wait before each further attempt, until patience ends."""
        pause, end = FIRST_PAUSE_SECONDS, time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def may_pass(self, error: Exception) -> bool:
        """Say whether a transaction that ended in this error may succeed when it is done again."""
        return isinstance(error, COLLISIONS) or _passes(error)

    def explained(self, error: Exception) -> Exception:
        """Return what an error of the driver means: Unavailable where it may pass, else itself."""
        if _passes(error):
            return Unavailable(f"The database {self.name} cannot be used now: {_sentence(error)}")
        return error

    def revision(self, session: Session) -> str | None:
        """Return the revision of the schema, or None where there is none yet."""
        if session.rows("SELECT to_regclass('alembic_version')")[0][0] is None:
            return None
        rows = session.rows("SELECT version_num FROM alembic_version")
        return str(rows[0][0]) if rows else None

    def faults(self, session: Session) -> list[str]:
        """Return which references point at nothing: somebody may have written without its own checks."""
        with self.connect() as connection:
            connection.execute(b"SET statement_timeout = 0")
            return references.faults(lambda sql: connection.execute(sql.encode()).fetchall())

    def scrub(self, session: Session) -> None:
        """Free the places of deleted rows; their bytes go as these are used again, and from the write-ahead
        log as that is recycled.
        """
        with self.connect() as connection:
            connection.execute(f"VACUUM {SCRUBBED}".encode())
            connection.execute(b"CHECKPOINT") if _may_checkpoint(connection) else None

    def upgrade(self) -> None:
        """Bring the schema to the one of this program."""
        # Alembic takes as long to load as the server to start, and is needed once for each new schema.
        from rollbook.storage import migrations  # noqa: PLC0415

        migrations.upgrade_postgresql(lambda: psycopg.connect(self._url))

    def close(self) -> None:
        """Close the pool."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


class PostgreSQLSession:
    """A thread's way to the database: a connection of the pool for each transaction.

    A transaction is a pipeline: what returns nothing is sent with what comes next, so that the first and the
    last statements cost no turn of their own.
    """

    def __init__(self, pool: "ConnectionPool[psycopg.Connection[Row]]") -> None:
        self.is_current = False
        self._pool = pool
        self._connection: psycopg.Connection[Row] | None = None
        self._pipeline: Any = None
        # Unique among the writers of all servers; see `begin`.
        self._id = secrets.token_hex(16)
        self._writes = 0
        self._known_changes = -1

    def begin(self, again: bool = False) -> bool:
        """Begin to write; `again` for another attempt at the same work.

        Each transaction leaves its number in the writer's row. So another attempt can tell whether the one
        before it was committed, though its connection was lost before the answer came.
        """
        if not again:
            self._writes += 1
        self._begin("BEGIN")
        noted = self._execute(NOTE_WRITE, (self._id, self._writes))
        if again and not noted.fetchall():
            self.roll_back()
            return False
        return True

    def begin_reading(self) -> None:
        """Begin to read one consistent state."""
        self._begin(BEGIN_READING)
        changes = self._execute(CHANGES).fetchall()
        number = changes[0][0] if changes else -1
        self.is_current, self._known_changes = number == self._known_changes, number

    def lock_site(self, site_id: int) -> None:
        """Keep other writers from a site until the end, but for what only adds contacts."""
        self._execute(LOCK_SITE, (site_id,)).fetchall()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run a statement and return its rows; outside of a transaction it is one by itself."""
        if self._connection is None:
            with self._pool.connection() as connection:
                return connection.execute(sql.encode(), parameters).fetchall()
        return self._execute(sql, parameters).fetchall()

    def order(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement that returns no rows; what is wrong with it may be raised by a later call."""
        self._execute(sql, parameters)

    def commit(self, changed: Iterable[str] = ()) -> None:
        """Keep what was written, on disk, or end reading.

        Raises the driver's error; one of a lost connection leaves open whether the commit took place.
        """
        if not REMEMBERED.isdisjoint(changed):
            self._execute(NOTE_CHANGE)
        ended = self._execute("COMMIT")
        self._leave_pipeline()
        if ended.statusmessage != "COMMIT":
            raise errors.TransactionRollback("the transaction was rolled back by an earlier error")
        self._give_back()

    def roll_back(self) -> None:
        """Undo what was written; a broken connection is not given back whole."""
        if self._connection is None:
            return
        with suppress(Exception):
            self._leave_pipeline()
        with suppress(Exception):
            self._connection.rollback()
        self._give_back()

    def close(self) -> None:
        """Undo what is open."""
        self.roll_back()

    def _begin(self, sql: str) -> None:
        self._connection = self._pool.getconn()
        self._pipeline = self._connection.pipeline()
        self._pipeline.__enter__()
        self._execute(sql)

    def _execute(self, sql: str, parameters: Sequence[Any] = ()) -> "psycopg.Cursor[Row]":
        if self._connection is None:
            raise RuntimeError("no transaction is open")
        return self._connection.execute(sql.encode(), parameters)

    def _leave_pipeline(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.__exit__(None, None, None)

    def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.putconn(connection)


class QuestionDumper(StrDumperUnknown):
    """Sends a question for tokens in the words of PostgreSQL."""

    def dump(self, obj: Question) -> Any:
        """Return the `tsquery`."""
        return super().dump(obj.for_postgresql())


CONNECTION: dict[str, Any] = {
    "autocommit": True,
    "cursor_factory": psycopg.RawCursor,
    "connect_timeout": LONGEST_CONNECT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "rollbook",
}


def _configure(connection: "psycopg.Connection[Row]") -> None:
    # Whole numbers are sent as one type whatever their size: a statement is prepared for the types it gets.
    connection.adapters.register_dumper(int, Int8Dumper)
    connection.adapters.register_dumper(Question, QuestionDumper)
    connection.execute(f"SET lock_timeout = {LOCK_MILLISECONDS}".encode())
    connection.execute(f"SET statement_timeout = {STATEMENT_MILLISECONDS}".encode())


def _passes(error: Exception) -> bool:
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    code = error.sqlstate
    if code is None:
        # The driver's own: a connection that is lost, or cannot be made.
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return code.startswith(PASSING_CLASSES) or code in PASSING_CODES


def _may_checkpoint(connection: "psycopg.Connection[Row]") -> bool:
    rows = connection.execute(b"SELECT pg_has_role(current_user, 'pg_checkpoint', 'USAGE')").fetchall()
    return bool(rows[0][0])


def _sentence(error: Exception) -> str:
    """Return the first line of a driver's message, ended by a full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".") + "."
