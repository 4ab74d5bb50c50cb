"""PostgreSQL: how it is reached, how its transactions begin and end, and which of its faults pass."""

import logging
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg import errors
from psycopg_pool import ConnectionPool, PoolTimeout
from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from rollbook.storage import on_loop, references
from rollbook.storage.engines import Carrier, Session
from rollbook.storage.faults import StorageError, Unavailable
from rollbook.storage.loop_queue import LoopQueue
from rollbook.storage.postgresql_connection import PostgreSQLConnection
from rollbook.storage.postgresql_session import PostgreSQLSession
from rollbook.storage.statements import Row
from rollbook.storage.workers import Queue, Work

# Statements are compiled for it, and executed by the driver.
POSTGRESQL: Dialect = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]

READERS = 4
MOST_READS_TOGETHER = 32
LONGEST_CONNECT_SECONDS = 5
# A free connection or a new one is there within these seconds, or it is time to see whether patience is at
# its end; a connection that is being made goes on meanwhile.
LONGEST_WAIT_SECONDS = 2
# In milliseconds.
LIMITS = (("lock_timeout", 5_000), ("statement_timeout", 60_000))
# Another VACUUM of the same table is waited for, and takes as long as that is large; but there are those who
# keep such a lock for hours, and neither a client nor the end of a server can wait so long.
LONGEST_WAIT_TO_VACUUM = 60_000
# By default PostgreSQL reckons with a disk that turns, where looking few contacts up costs as much as reading
# through an index of a whole site. Who has set it otherwise knows better.
COST_OF_LOOK_UP = b"SELECT current_setting('random_page_cost', true)"
COST_BY_DEFAULT = "4"
LOOK_UPS_ARE_CHEAP = b"SET random_page_cost = 1.1"
# How long a transaction is tried again: from one pause to the next up to twice as long, with jitter, so that
# those who met once do not meet again.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, PATIENCE_SECONDS = 0.01, 0.8, 6.0

# Locks, or the database's own proof of serializability, keep those apart who read before they write; an
# isolation between the two would let a transaction wait for a lock and go by what was before it.
BEGIN = {"repeatable read": "BEGIN ISOLATION LEVEL SERIALIZABLE"}
ISOLATION = "SELECT current_setting('default_transaction_isolation')"

# Tables where deleted people may have left bytes.
SCRUBBED = (
    "contacts, contact_search, search_backlog, contact_taggings, contact_notes, consent_events, kept_answers"
)

# The role is new in PostgreSQL 15: where it is missing, it has no number, and this says neither yes nor no.
CHECKPOINTERS = "pg_checkpoint"
MAY_CHECKPOINT = (
    "SELECT current_setting('is_superuser') = 'on' OR pg_has_role(current_user, to_regrole('{}'), 'USAGE')"
)

# Classes and codes of SQLSTATE that pass: connection, resources, operator, serialization, locks, read-only.
PASSING_CLASSES = ("08", "53", "57", "40")
PASSING_CODES = frozenset({"55P03", "25006", "58030"})
# Two transactions wanted the same: the one that lost sees the other's rows when it is done again.
# What collides again and again does so with itself, and nobody should wait for it.
COLLISIONS = (errors.UniqueViolation, errors.ForeignKeyViolation)
MOST_COLLISIONS = 3


class PostgreSQL:
    """One PostgreSQL database: makes its sessions from a pool, and knows what its errors mean.

    `prepares` says that a connection is one session of the database's as long as it lasts. Behind a pooler
    that gives each transaction another one, nothing can be kept in a session, neither statements nor limits.
    """

    dialect = POSTGRESQL
    remedy = "Stop the servers, keep a dump of the database (pg_dump), and restore a backup."
    readers = READERS
    is_near = False
    serves_many = True
    # A migration makes what is kept from its schema on, and no program that keeps less was ever released for
    # PostgreSQL. The next migration that has more kept finds some: it has to see that none of them goes on
    # to write, for a count at the start of this one would miss what others, beside it, write after that.
    was_kept_whole = True

    def __init__(self, url: str, *, prepares: bool = True) -> None:
        self._url = url
        self._keeps_session = prepares
        self._limits = () if prepares else LIMITS
        self._begin = "BEGIN"
        self._may_look = False
        self._pool: ConnectionPool[PostgreSQLConnection] | None = None

    @property
    def name(self) -> str:
        """The database as messages and logs name it: user, host, port and name alone."""
        parts = _parts(self._url) or {}
        user, host, port, name = (str(parts.get(each, "")) for each in ("user", "host", "port", "dbname"))
        at = host.replace("/", "%2F") + (f":{port}" if port else "")
        return f"postgresql://{user}{'@' if user else ''}{at}/{name}"

    @property
    def place(self) -> str:
        """The same for the same database, as far as a URL tells."""
        return self.name

    def is_there(self) -> bool:
        """Say yes: `prepare` tells where it is not."""
        return True

    def prepare(self) -> None:
        """Open the pool; raise StorageError where the database cannot be reached."""
        if self._pool is not None:
            return
        if _parts(self._url) is None:
            # Whatever stands in it may be the password, in the driver's words too.
            raise StorageError(
                "The PostgreSQL URL of ROLLBOOK_DATABASE is not understood. It is "
                "postgresql://<user>:<password>@<host>/<database>, and in each part all but letters, digits "
                "and -._~ is percent-encoded: %40 is an at sign, %2F a slash, %20 a space."
            )
        try:
            with self.connect() as connection:
                isolation = connection.execute(ISOLATION.encode()).fetchall()[0][0]
                self._begin = BEGIN.get(isolation, "BEGIN")
            # A statement by itself has no limits where each transaction sets them, and is isolated as the
            # database has it by default: strictly, it would keep others from writing.
            self._may_look = not self._limits and isolation == "read committed"
        except psycopg.Error as error:
            raise StorageError(
                f"The database {self.name} cannot be used: {_sentence(error)} Check ROLLBOOK_DATABASE "
                "(postgresql://<user>:<password>@<host>/<database>), that the server runs, and that the "
                "database exists."
            ) from None
        # Whoever wanted a connection is told what became of it; lines on standard error have one shape.
        logging.getLogger("psycopg").addHandler(logging.NullHandler())
        logging.getLogger("psycopg").propagate = False
        self._pool = ConnectionPool(
            self._url,
            kwargs=CONNECTION,
            connection_class=PostgreSQLConnection,
            configure=self._configure,
            min_size=1,
            max_size=READERS + 4,
            timeout=LONGEST_WAIT_SECONDS,
            reconnect_timeout=LONGEST_CONNECT_SECONDS,
            name="rollbook",
            open=True,
        )

    def connect(self, **more: Any) -> "PostgreSQLConnection":
        """Return a connection outside of the pool, with `more` options of libpq."""
        connection = PostgreSQLConnection.connect(self._url, **(CONNECTION | more))
        try:
            self._configure(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _configure(self, connection: PostgreSQLConnection) -> None:
        if self._keeps_session:
            connection.prepares = True
            for name, value in LIMITS:
                connection.execute(f"SET {name} = {value}".encode())
            if connection.execute(COST_OF_LOOK_UP).fetchone() == (COST_BY_DEFAULT,):
                connection.execute(LOOK_UPS_ARE_CHEAP)

    def lock_for_server(self) -> None:
        """Do nothing: many servers may serve one database."""

    def note_kept_whole(self) -> None:
        """Do nothing: it always was."""

    def _session(self) -> "PostgreSQLSession":
        pool = self._opened()
        return PostgreSQLSession(pool, self._begin, self._limits, may_look=self._may_look)

    def open_writer(self) -> "PostgreSQLSession":
        """Return a session that may write."""
        return self._session()

    def open_reader(self) -> "PostgreSQLSession":
        """Return a session for reading."""
        return self._session()

    def open_onlooker(self) -> "PostgreSQLSession":
        """Return a session for reading."""
        return self._session()

    def open_carrier(self, *, writing: bool) -> Carrier:
        """Return a way to carry tables, with a lock that those who copy from it share."""
        # Seldom asked for.
        from rollbook.storage.postgresql_carrier import PostgreSQLCarrier  # noqa: PLC0415

        self.prepare()
        try:
            return PostgreSQLCarrier(self.connect(application_name="rollbook db copy"), alone=writing)
        except errors.LockNotAvailable:
            raise StorageError(
                f"The database {self.name} is copied already, or is both FROM and TO. Wait for the other "
                "`rollbook db copy`, or name two databases."
            ) from None

    def _opened(self) -> "ConnectionPool[PostgreSQLConnection]":
        if self._pool is None:
            self.prepare()
        if self._pool is None:
            raise StorageError(f"The database {self.name} is closed.")
        return self._pool

    def queue(self, limit: int, works: Sequence[Work]) -> Queue:
        """Return a queue of jobs that the running loop does itself."""
        return LoopQueue(limit, MOST_READS_TOGETHER, works)

    def pauses(self) -> Iterator[bool]:
        """Wait before each further attempt that is asked for, until patience, which begins now, ends."""
        return _pauses(time.monotonic() + PATIENCE_SECONDS)

    def may_pass(self, error: Exception, attempts: int) -> bool:
        """Say whether a transaction that ended in this error, so many attempts before it, may succeed when
        it is done again.
        """
        return _passes(error) or (isinstance(error, COLLISIONS) and attempts < MOST_COLLISIONS)

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
        with self.connect(application_name="rollbook db check") as connection:
            connection.longest_answer_seconds = None
            connection.execute(b"SET statement_timeout = 0")
            return references.faults(lambda sql: connection.execute(sql.encode()).fetchall())

    def scrub(self, session: Session, *, is_hurried: bool = False) -> None:
        """Free the places of deleted rows; their bytes go as these are used again, and from the write-ahead
        log as that is recycled.
        """
        with self.connect() as connection:
            # It takes as long as the tables are large.
            connection.longest_answer_seconds = None
            connection.execute(b"SET statement_timeout = 0")
            longest_wait = dict(LIMITS)["lock_timeout"] if is_hurried else LONGEST_WAIT_TO_VACUUM
            connection.execute(f"SET lock_timeout = {longest_wait}".encode())
            connection.execute(f"VACUUM {SCRUBBED}".encode())
            connection.execute(b"CHECKPOINT") if _may_checkpoint(connection) else None

    def upgrade(self) -> None:
        """Bring the schema to the one of this program."""
        # Alembic takes as long to load as the server to start, and is needed once for each new schema.
        from rollbook.storage import migrations  # noqa: PLC0415

        migrations.upgrade_postgresql(lambda: psycopg.connect(self._url, prepare_threshold=None))

    def close(self) -> None:
        """Close the pool."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


CONNECTION: dict[str, Any] = {
    "autocommit": True,
    "cursor_factory": psycopg.RawCursor,
    "prepare_threshold": None,
    "connect_timeout": LONGEST_CONNECT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "rollbook",
}


def _pauses(end: float) -> Iterator[bool]:
    pause = FIRST_PAUSE_SECONDS
    while time.monotonic() < end:
        on_loop.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
        yield True
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


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
    rows = connection.execute(MAY_CHECKPOINT.format(CHECKPOINTERS).encode()).fetchall()
    return bool(rows[0][0])


def _parts(url: str) -> dict[str, Any] | None:
    """Return the parts of a URL by their names in libpq, or None where some may be a part of a password."""
    try:
        parts: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        return None
    # An at sign or a slash in a password makes other parts of the rest.
    torn = "@" in f"{parts.get('host', '')}{parts.get('dbname', '')}"
    port = str(parts.get("port", ""))
    return None if torn or (port and not port.replace(",", "").isdecimal()) else parts


def _sentence(error: Exception) -> str:
    """Return the first line of a driver's message, ended by a full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".") + "."
