"""SQLite: how its files are opened, locked, begun, committed and checkpointed."""

import mmap
import os
import struct
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
from sqlalchemy import Dialect
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from rollbook.storage import search_index
from rollbook.storage.engines import Session
from rollbook.storage.faults import StorageError, Unavailable
from rollbook.storage.server_lock import ServerLock
from rollbook.storage.statements import Connection, Row
from rollbook.storage.workers import Queue, ThreadQueue, Work

BUSY_MILLISECONDS = 5_000
WRITER_CACHE_KIB = 32_768
READER_CACHE_KIB = 8_192
# Pages that may gather in the write-ahead log before the writer carries them over, at 4 KiB each.
CHECKPOINT_PAGES = 4_000
# One that writes a single resource changes fewer, unless that has very long texts.
PAGES_OF_A_COMMIT = 100
STATEMENTS_CACHED = 256
MOST_READS_TOGETHER = 8

# Statements are compiled for it, and executed by the driver.
SQLITE: Dialect = SQLiteDialect_pysqlite(paramstyle="qmark")

Connect = Callable[[Path], Connection]

# The first copy of the write-ahead log index's header, in the byte order of the machine: it counts commits,
# and the pages in the log.
INDEX_HEADER_BYTES = 48
NUMBER = struct.Struct("=I")
COMMITS_AT, PAGES_AT = 8, 16

# The primary result codes of what passes by itself or by an operator's hand.
PASSING_CODES = frozenset(
    {
        *(apsw.SQLITE_BUSY, apsw.SQLITE_LOCKED, apsw.SQLITE_READONLY, apsw.SQLITE_INTERRUPT),
        *(apsw.SQLITE_IOERR, apsw.SQLITE_FULL, apsw.SQLITE_CANTOPEN, apsw.SQLITE_PROTOCOL),
    }
)


def can_lose_commits(version: tuple[int, int, int]) -> bool:
    """Say whether a SQLite release has the WAL-reset fault, which can lose a committed write.

    It needs two connections that write and checkpoint at one instant; 3.51.3 mended it, 3.44.6 and 3.50.7
    carry the mend too (https://sqlite.org/wal.html, "The WAL-Reset Bug").
    """
    return (3, 7, 0) <= version < (3, 51, 3) and version not in {(3, 44, 6), (3, 50, 7)}


def connect_with_driver(path: Path) -> apsw.Connection:
    """Open a file with the driver, which brings its own SQLite and leaves transactions to us."""
    connection = apsw.Connection(str(path), statementcachesize=STATEMENTS_CACHED)
    # Else each new value of a limit or a range would have its statement planned anew, those within FTS5 too
    # (https://sqlite.org/queryplanner-ng.html, "the query planner stability guarantee").
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    return connection


class SQLite:
    """One SQLite file: makes its connections, and knows what its errors mean.

    `connect` opens the file, by default with the driver as it is. `synchronous` is FULL, except in the test
    that shows what FULL is for.
    """

    dialect = SQLITE
    remedy = "Stop the server, keep a copy of the file and its -wal, and restore a backup."
    readers = 2
    is_near = True
    serves_many = False

    def __init__(
        self, path: Path, *, connect: Connect = connect_with_driver, synchronous: str = "FULL"
    ) -> None:
        self.path = path
        self._connect = connect
        self._synchronous = synchronous
        self._lock = ServerLock(path)
        self._watches: list[CommitWatch] = []

    @property
    def name(self) -> str:
        """The URL of the file."""
        return f"sqlite:///{self.path}"

    @property
    def place(self) -> str:
        """The same for the same file, however it was named."""
        return f"sqlite:///{self.path.resolve()}"

    def is_there(self) -> bool:
        """Say whether there is such a file."""
        return self.path.exists()

    def prepare(self) -> None:
        """Make the file where there is none, readable by its owner alone; it holds personal data."""
        folder = self.path.parent
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            if not folder.exists():
                raise StorageError(
                    f"The folder {folder} does not exist. Make it, or choose another file with "
                    "ROLLBOOK_DATABASE."
                ) from None
            raise StorageError(
                f"The database file {self.path} cannot be opened for writing ({error.strerror}). "
                "Check the owner and mode of the file and its folder, or choose another with "
                "ROLLBOOK_DATABASE."
            ) from None

    @property
    def was_kept_whole(self) -> bool:
        """Whether the last server kept all that this program keeps; known once the file is locked."""
        return self._lock.was_kept_whole

    def lock_for_server(self) -> None:
        """Take the lock that one server holds on a file; raise StorageError where another has it."""
        self._lock.take()

    def note_kept_whole(self) -> None:
        """Note, for the next server, that all is kept that this program keeps."""
        self._lock.note_kept_whole()

    def close(self) -> None:
        """Let go of the server's lock, and of what the connections are watched by."""
        for watch in self._watches:
            watch.close()
        self._watches.clear()
        self._lock.release()

    def open_writer(self) -> "SQLiteSession":
        """Return the session that writes and checkpoints."""
        connection = self._open(
            ("journal_mode", "WAL", "wal"),
            ("synchronous", self._synchronous, {"FULL": 2, "NORMAL": 1}[self._synchronous]),
            ("cache_size", -WRITER_CACHE_KIB, -WRITER_CACHE_KIB),
            ("wal_autocheckpoint", CHECKPOINT_PAGES, CHECKPOINT_PAGES),
            ("journal_size_limit", 67_108_864, 67_108_864),
        )
        return SQLiteSession(connection, last_words="PRAGMA wal_checkpoint(TRUNCATE)")

    def open_reader(self) -> "SQLiteSession":
        """Return a session that cannot write, and knows when anybody has."""
        pragmas = (("query_only", "ON", 1), ("cache_size", -READER_CACHE_KIB, -READER_CACHE_KIB))
        connection = self._open(*pragmas)
        watch = CommitWatch(self.path)
        self._watches.append(watch)
        return SQLiteSession(connection, watch)

    def open_onlooker(self) -> "SQLiteSession":
        """Return a session that changes nothing, not even how the file is kept."""
        return SQLiteSession(self._open(("query_only", "ON", 1)))

    def open_carrier(self, *, writing: bool) -> "SQLiteSession":
        """Return a session to carry tables; one that writes has the lock that a server holds."""
        if writing:
            self.prepare()
            self.lock_for_server()
            return self.open_writer()
        return self.open_onlooker()

    def _open(self, *pragmas: tuple[str, str | int, str | int]) -> Connection:
        try:
            connection = self._connect(self.path)
            self._set_up(connection, pragmas)
        except Exception as error:
            raise self.explained(error) from error
        return connection

    def _set_up(self, connection: Connection, pragmas: tuple[tuple[str, str | int, str | int], ...]) -> None:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}").fetchall()
        version = tuple(
            int(part) for part in str(_only(connection, "SELECT sqlite_version()")).split(".")[:3]
        )
        if can_lose_commits((version[0], version[1], version[2])):
            raise StorageError(
                f"SQLite {'.'.join(map(str, version))} can lose committed writes (mended in 3.51.3). "
                "Install the apsw that requirements/run.txt pins."
            )
        # What is sorted is personal data, and belongs into no other file.
        own = (("foreign_keys", "ON", 1), ("trusted_schema", "OFF", 0), ("temp_store", "MEMORY", 2))
        for name, value, expected in (*own, *pragmas):
            connection.execute(f"PRAGMA {name} = {value}").fetchall()
            found = _only(connection, f"PRAGMA {name}")
            if found != expected:
                raise StorageError(
                    f"SQLite did not take {name} = {value} for {self.path}: it stayed {found}. "
                    "A file on a network file system cannot be used safely; choose a local disk."
                )

    def queue(self, limit: int, works: Sequence[Work]) -> Queue:
        """Return a queue of jobs that threads do."""
        return ThreadQueue(limit, MOST_READS_TOGETHER, works)

    def pauses(self) -> Iterator[bool]:
        """End at once: SQLite waits for a lock by itself, and loses no connection."""
        return iter(())

    def may_pass(self, error: Exception, attempts: int) -> bool:
        """Say no: see `pauses`."""
        return False

    def upgrade(self) -> None:
        """Bring the schema to the one of this program."""
        # Alembic takes as long to load as the server to start, and is needed once for each new schema.
        from rollbook.storage import migrations  # noqa: PLC0415

        migrations.upgrade_sqlite(connect_with_driver, self.path)

    def scrub(self, session: Session, *, is_hurried: bool = False) -> None:
        """Rewrite the file and empty the log, so that free places hold nothing of what was deleted.

        Hurried or not, it waits for others as a write does. Raises Unavailable where a reader keeps the log
        from being emptied.
        """
        # A deleted contact's tokens stay in the segments of the index until these are merged.
        session.order(search_index.OPTIMIZE)
        session.order("VACUUM")
        ((busy, _, _),) = session.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        if busy:
            raise Unavailable(f"A reader kept the write-ahead log of {self.path} from being emptied.")

    def revision(self, session: Session) -> str | None:
        """Return the revision of the schema, or None where there is none yet."""
        if not session.rows("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'alembic_version'"):
            return None
        rows = session.rows("SELECT version_num FROM alembic_version")
        return str(rows[0][0]) if rows else None

    def faults(self, session: Session) -> list[str]:
        """Return what SQLite's own checks find wrong with the file; empty when all is well."""
        found = [f"integrity: {row[0]}" for row in session.rows("PRAGMA integrity_check") if row[0] != "ok"]
        for table, rowid, parent, _ in session.rows("PRAGMA foreign_key_check"):
            found.append(f"foreign key: row {rowid} of {table} points at nothing in {parent}")
        return found

    def explained(self, error: Exception) -> Exception:
        """Return what an error of the driver means: Unavailable where it may pass, else itself."""
        code = getattr(error, "result", None) if isinstance(error, apsw.Error) else None
        if code in PASSING_CODES:
            return Unavailable(f"The database {self.path} cannot be used now ({error}).")
        if code in (apsw.SQLITE_NOTADB, apsw.SQLITE_CORRUPT):
            return StorageError(
                f"{self.path} is not a SQLite database, or is damaged ({error}). {self.remedy}"
            )
        return error


class SQLiteSession:
    """A connection to a file, which one thread uses at a time.

    `watch` tells a reader of commits; `last_words` is what is said before the connection is closed.
    """

    __slots__ = ("_last_words", "_watch", "connection")

    changes = 0

    def __init__(
        self, connection: Connection, watch: "CommitWatch | None" = None, last_words: str = ""
    ) -> None:
        self.connection = connection
        self._watch = watch
        self._last_words = last_words

    @property
    def is_current(self) -> bool:
        """Whether nobody, another process included, has committed since one last looked."""
        return self._watch is not None and not self._watch.has_changed()

    @property
    def state(self) -> bytes:
        """What is another after each commit, of any process."""
        return b"" if self._watch is None else self._watch.header()

    @property
    def is_log_long(self) -> bool:
        """Whether the next commit may have to carry the write-ahead log over."""
        return self._watch is None or self._watch.pages_in_log() > CHECKPOINT_PAGES - PAGES_OF_A_COMMIT

    def pass_by(self, state: bytes) -> None:
        """Stay current in spite of one commit, where it alone was made since that state."""
        if self._watch is not None:
            self._watch.pass_by(state)

    def begin(self, again: bool = False) -> bool:
        """Begin to write, as the only one."""
        self.connection.execute("BEGIN IMMEDIATE")
        return True

    def begin_at_once(self) -> bool:
        """Begin to write, as the only one, unless somebody else is writing; return whether it was begun."""
        connection: Any = self.connection
        connection.set_busy_timeout(0)
        try:
            connection.execute("BEGIN IMMEDIATE")
        except apsw.BusyError:
            return False
        finally:
            connection.set_busy_timeout(BUSY_MILLISECONDS)
        return True

    def begin_reading(self) -> None:
        """Begin to read one consistent state."""
        self.connection.execute("BEGIN")

    def begin_looking(self) -> None:
        """Begin to read one state: a transaction costs next to nothing here."""
        self.begin_reading()

    def lock_site(self, site_id: int) -> None:
        """Do nothing: there is one writer."""

    def lock_beginning(self) -> None:
        """Do nothing: there is one writer."""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run a statement and return its rows."""
        return self.connection.execute(sql, parameters).fetchall()

    def order(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement that returns no rows."""
        self.connection.execute(sql, parameters)

    def stream(self, sql: str, parameters: Sequence[Any] = ()) -> Generator[Row, None, None]:
        """Run a statement and return its rows as they are read."""
        cursor: Any = self.connection.execute(sql, parameters)
        try:
            yield from cursor
        finally:
            cursor.close()

    def load(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert many rows."""
        places = ", ".join("?" * len(columns))
        connection: Any = self.connection
        connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)

    def settle(self) -> None:
        """Move all of the write-ahead log into the file."""
        self.rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def commit(self, changed: Iterable[str] = ()) -> None:
        """Keep what was written, on disk, or end reading."""
        self.connection.execute("COMMIT")

    def roll_back(self) -> None:
        """Undo what was written."""
        # SQLite has rolled back by itself after some errors, and then refuses to do it again.
        with suppress(Exception):
            self.connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection; a writer empties the write-ahead log first."""
        if self._last_words:
            with suppress(Exception):
                self.connection.execute(self._last_words).fetchall()
        self.connection.close()


class CommitWatch:
    """Tells whether anybody, another process included, has committed since one last looked.

    It compares the header of the write-ahead log's index, which every commit changes and which SQLite
    itself compares at the start of every read (https://sqlite.org/walformat.html, section 2.1). The pragma
    `data_version` says the same, but costs a change of threads whenever another one waits to run.

    The file stays open until `close`, which must come after the last connection's: closing it would end
    the locks that this process holds on it (POSIX advisory locks belong to the process).
    """

    def __init__(self, database: Path) -> None:
        self._file = database.with_name(database.name + "-shm").open("rb", buffering=0)
        self._index = mmap.mmap(self._file.fileno(), INDEX_HEADER_BYTES, access=mmap.ACCESS_READ)
        self._seen = b""

    def header(self) -> bytes:
        """Return the header as it is now."""
        return self._index[:INDEX_HEADER_BYTES]

    def has_changed(self) -> bool:
        """Say whether there was a commit since the last call; yes at the first."""
        header = self.header()
        if header == self._seen:
            return False
        self._seen = header
        return True

    def pass_by(self, header: bytes) -> None:
        """Count one commit as none, where it alone was made since the header was so, and nobody looked
        between.
        """
        now = self.header()
        if self._seen == header and _commits(now) == (_commits(header) + 1) % 2**32:
            self._seen = now

    def pages_in_log(self) -> int:
        """Return how many pages the write-ahead log has, those that were carried over included."""
        pages: int = NUMBER.unpack_from(self.header(), PAGES_AT)[0]
        return pages

    def close(self) -> None:
        """Let go of the file."""
        self._index.close()
        self._file.close()


def _commits(header: bytes) -> int:
    commits: int = NUMBER.unpack_from(header, COMMITS_AT)[0]
    return commits


def _only(connection: Connection, sql: str) -> Any:
    row = connection.execute(sql).fetchone()
    return None if row is None else row[0]
