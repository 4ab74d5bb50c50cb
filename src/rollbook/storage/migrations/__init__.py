"""Brings a database's schema to the one that this program needs, by Alembic."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from rollbook.storage.migrations.plain_connection import PlainConnection

# The first schema that was made for PostgreSQL; those before it are SQLite's alone.
BEFORE_POSTGRESQL = "0002"
# How long a migration of a file waits for another, or for who writes.
LONGEST_WAIT_MILLISECONDS = 30_000
# The SQLSTATEs of a table, or its type, or the name of either, that is there since a moment ago.
MADE_BY_ANOTHER = ("42P07", "42710", "23505")


def upgrade_sqlite(connect: Callable[[Path], apsw.Connection], path: Path) -> None:
    """Create or migrate the schema of a file; safe to be called by several processes at once.

    Raises the driver's error where the file cannot be written.
    """

    def connected() -> PlainConnection:
        connection = connect(path)
        connection.set_busy_timeout(LONGEST_WAIT_MILLISECONDS)
        # What is sorted is personal data, and belongs into no other file.
        connection.execute("PRAGMA temp_store = MEMORY").fetchall()
        return PlainConnection(connection)

    alchemy = create_engine("sqlite://", creator=connected, poolclass=NullPool)

    @event.listens_for(alchemy, "begin")
    def begin(connection: Connection) -> None:
        # The driver begins nothing by itself; the lock keeps a second migration waiting for the first.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    with alchemy.connect() as connection:
        command.upgrade(_config(connection), "head")


def upgrade_postgresql(connect: Callable[[], Any]) -> None:
    """Create or migrate the schema of a database; safe to be called by several processes at once.

    Raises the driver's error where that cannot be done.
    """
    alchemy = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
    with alchemy.connect() as connection:
        # A table that is there before any migration keeps a second one waiting for the first.
        _make_lock(connection)
        connection.exec_driver_sql("LOCK TABLE migrating IN EXCLUSIVE MODE")
        config = _config(connection)
        if not connection.dialect.has_table(connection, "alembic_version"):
            command.stamp(config, BEFORE_POSTGRESQL)
        command.upgrade(config, "head")
        connection.commit()


def _make_lock(connection: Connection) -> None:
    try:
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS migrating (number bigint NOT NULL)")
        connection.commit()
    except DBAPIError as error:
        # Another makes it at this moment, and has it in the end: "if not exists" does not wait for that.
        if getattr(error.orig, "sqlstate", None) not in MADE_BY_ANOTHER:
            raise
        connection.rollback()


def _config(connection: Connection) -> Config:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
