"""Brings a database's schema to the one that this program needs, by Alembic."""

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.pool import NullPool

from rollbook.storage.sqlite import SQLite, connect_with_driver


def upgrade(engine: SQLite) -> None:
    """Create or migrate the schema; safe to be called by several processes at once.

    Raises the driver's error where the file cannot be written.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    alchemy = create_engine("sqlite://", creator=lambda: connect_with_driver(engine.path), poolclass=NullPool)

    @event.listens_for(alchemy, "begin")
    def begin(connection: Connection) -> None:
        # The driver begins nothing by itself; the lock keeps a second migration waiting for the first.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    with alchemy.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 30000")
        connection.rollback()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
