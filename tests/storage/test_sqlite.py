"""Proves the promises of storage on SQLite's files: pragmas, releases, locks, what is remembered, the schema."""

import asyncio
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest
from durability.disks import FailingVFS, Failures
from sqlalchemy import bindparam, select
from sqlalchemy.schema import CreateIndex, CreateTable
from storage.leases import add_kinds, lease, served

from rollbook.storage import dialects, search_index, tables
from rollbook.storage.database import Database
from rollbook.storage.faults import StorageError, Unavailable
from rollbook.storage.migrate import bring_up_to_date
from rollbook.storage.sqlite import SQLITE, SQLite, SQLiteSession, can_lose_commits
from rollbook.storage.statements import Statement
from rollbook.storage.transactions import Snapshot

pytestmark = pytest.mark.sqlite


def test_pragmas_are_what_durability_needs(database: Database) -> None:
    writer, reader = database.engine.open_writer(), database.engine.open_reader()
    expected = {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "trusted_schema": 0,
        "busy_timeout": 5000,
    }
    for pragma, value in expected.items():
        assert writer.rows(f"PRAGMA {pragma}") == [(value,)]
    assert reader.rows("PRAGMA query_only") == [(1,)]
    for session in (writer, reader):
        assert session.rows("PRAGMA temp_store") == [(2,)]
        assert isinstance(session, SQLiteSession)
        assert isinstance(session.connection, apsw.Connection)
        assert session.connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, -1) == 1
    with pytest.raises(apsw.ReadOnlyError):
        reader.order("DELETE FROM sites")
    writer.close()
    reader.close()


@pytest.mark.parametrize(
    ("version", "loses"),
    [((3, 6, 23), False), ((3, 7, 0), True), ((3, 40, 1), True), ((3, 44, 5), True), ((3, 44, 6), False),
     ((3, 50, 6), True), ((3, 50, 7), False), ((3, 51, 2), True), ((3, 51, 3), False), ((3, 53, 4), False)],
)  # fmt: skip
def test_releases_that_can_lose_commits_are_known(version: tuple[int, int, int], loses: bool) -> None:
    assert can_lose_commits(version) is loses


class OldSQLite:
    """A connection that says that it is of an old release; everything else is real."""

    def __init__(self, path: Path) -> None:
        self._real = sqlite3.connect(path)

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        return self._real.execute(sql.replace("sqlite_version()", "'3.40.1'"), parameters)

    def close(self) -> None:
        self._real.close()


def test_an_old_release_is_refused(tmp_path: Path) -> None:
    opened: list[OldSQLite] = []

    def connect(path: Path) -> OldSQLite:
        opened.append(OldSQLite(path))
        return opened[0]

    with pytest.raises(StorageError, match=r"SQLite 3\.40\.1 can lose committed writes"):
        Database(SQLite(tmp_path / "a.db", connect=connect)).revision()
    opened[0].close()


def test_a_pragma_that_is_not_taken_is_an_error(tmp_path: Path) -> None:
    # A database in memory has no write-ahead log.
    engine = SQLite(tmp_path / "a.db", connect=lambda _path: apsw.Connection(":memory:"))
    with pytest.raises(StorageError, match="did not take journal_mode = WAL"):
        engine.open_writer()


def test_what_was_remembered_is_forgotten_after_anybody_commits(database: Database, tmp_path: Path) -> None:
    looks: list[str] = []

    def look(snapshot: Snapshot, kind: str) -> int | None:
        looks.append(kind)
        row = snapshot.row(lease, {"kind": kind})
        return row[0] if row else None

    async def work() -> None:
        for _ in range(3):
            assert await database.remembered(look, "x-1") is None
        assert len(looks) == 3
        await database.write(add_kinds, "x-1")
        for _ in range(3):
            assert await database.remembered(look, "x-1") == 1
        assert len(looks) == 4
        other = apsw.Connection(str(tmp_path / "rollbook.db"))
        other.execute("UPDATE id_leases SET next_id = 7 WHERE kind = 'x-1'")
        other.close()
        assert await database.remembered(look, "x-1") == 7
        script = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute('UPDATE id_leases SET next_id = 8'); c.commit()"
        await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", script, str(tmp_path / "rollbook.db")], check=True
        )
        assert await database.remembered(look, "x-1") == 8

    served(database, work)


def test_a_writer_that_waits_in_vain_for_the_lock_says_so(tmp_path: Path) -> None:
    database = Database(SQLite(tmp_path / "rollbook.db"))
    bring_up_to_date(database)
    database._session().rows("PRAGMA busy_timeout = 10")
    other = apsw.Connection(str(tmp_path / "rollbook.db"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        served(database, lambda: database.write(add_kinds, "x-1"))
    other.close()


@pytest.mark.parametrize("several", [False, True], ids=["one statement", "several"])
def test_a_disk_that_cannot_be_read_is_said_to_be_unavailable(tmp_path: Path, several: bool) -> None:
    path, failures = tmp_path / "rollbook.db", Failures()
    bring_up_to_date(Database(SQLite(path)))
    name = f"failing-{path}"
    vfs = FailingVFS(name, failures)
    database = Database(SQLite(path, connect=lambda path: apsw.Connection(str(path), vfs=name)))

    def look(snapshot: Snapshot, kind: str) -> list[Any]:
        snapshot._session.order("PRAGMA shrink_memory")
        return snapshot.rows(lease, {"kind": kind})

    async def work() -> None:
        assert await database.glance(look, "contacts", several=several)
        failures.arm(1, full=False)
        with pytest.raises(Unavailable, match="cannot be used"):
            await database.glance(look, "contacts", several=several)
        failures.disarm()
        assert await database.glance(look, "contacts", several=several)

    served(database, work)
    vfs.unregister()


def normalised(sql: str) -> list[str]:
    """Return the parts of a statement, in an order that does not matter to the database."""
    return sorted(re.sub(r"[\s\",]+", "", part) for part in re.split(r"\n|,", sql.strip()) if part.strip())


def test_conditions_of_our_own_leave_the_indexes_to_the_database(database: Database) -> None:
    of_sites = dialects.among(tables.contacts.c.site_id, bindparam("sites"))
    unindexed = select(tables.search_backlog.c.contact_id)
    findable = search_index.has_tokens(tables.contacts.c.id, bindparam("asked"), unindexed)
    site = tables.contacts.c.site_id == bindparam("site")
    for conditions in ([of_sites, tables.contacts.c.id == bindparam("id")], [site, findable]):
        sql, names, _ = Statement(select(tables.contacts.c.name).where(*conditions)).compiled(SQLITE)
        plan = database._session().rows("EXPLAIN QUERY PLAN " + sql, [None] * len(names))
        assert "(site_id=? AND id=?)" in plan[0][3]


def test_the_schema_is_the_sum_of_its_migrations(database: Database) -> None:
    rows = database._session().rows(
        "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'contact_search%'"
        " AND name != 'alembic_version'"
    )
    migrated = {name: normalised(sql) for name, sql in rows}
    declared = {}
    for table in tables.metadata.sorted_tables:
        declared[table.name] = normalised(str(CreateTable(table).compile(dialect=SQLITE)))
        for index in table.indexes:
            declared[str(index.name)] = normalised(str(CreateIndex(index).compile(dialect=SQLITE)))
    assert migrated == declared
    assert all("STRICT" in "".join(migrated[table.name]) for table in tables.metadata.sorted_tables)
