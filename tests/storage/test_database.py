"""Proves the promises of storage on real files: pragmas, one writer, groups, ids, statements, migrations."""

import asyncio
import contextlib
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from pysqlite3 import dbapi2 as driver
from sqlalchemy import bindparam, insert, select
from sqlalchemy.schema import CreateIndex, CreateTable

from rollbook import cli
from rollbook.storage import tables, workers
from rollbook.storage.database import Database, open_database
from rollbook.storage.faults import SchemaMismatch, StorageError, Unavailable
from rollbook.storage.ids import BLOCK
from rollbook.storage.migrate import bring_up_to_date
from rollbook.storage.sqlite import SQLITE, SQLite, can_lose_commits
from rollbook.storage.statements import InsertRows, Statement, every_statement
from rollbook.storage.transactions import Snapshot, Transaction
from support import run_rollbook

assert cli.main, "importing it makes every statement of the register"

add_lease = InsertRows(insert(tables.id_leases), ["kind", "next_id"])
leases = Statement(
    select(tables.id_leases.c.kind, tables.id_leases.c.next_id).order_by(tables.id_leases.c.kind)
)
lease = Statement(select(tables.id_leases.c.next_id).where(tables.id_leases.c.kind == bindparam("kind")))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(SQLite(tmp_path / "rollbook.db"))
    bring_up_to_date(made)
    yield made
    made.close()


def served(database: Database, work: Callable[[], Coroutine[Any, Any, Any]], max_waiting: int = 100) -> Any:
    """Run a coroutine with the database's threads started."""

    async def main() -> Any:
        database.start(max_waiting)
        try:
            return await work()
        finally:
            await database.stop()

    return asyncio.run(main())


def add_kinds(transaction: Transaction, kinds: list[str]) -> list[str | Exception]:
    """Add a lease for each kind; one named `refused` is refused, one named `breaks` breaks the transaction."""
    transaction.insert(add_lease, [(kind, 1) for kind in kinds if kind not in ("refused", "breaks")])
    if "breaks" in kinds:
        raise ValueError("broken")
    return [ValueError(kind) if kind == "refused" else kind for kind in kinds]


def kinds_of(snapshot: Snapshot, beginning: str) -> list[str]:
    return [row[0] for row in snapshot.rows(leases) if row[0].startswith(beginning)]


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
    with pytest.raises(driver.OperationalError, match="readonly"):
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
    engine = SQLite(tmp_path / "a.db", connect=lambda _path: driver.connect(":memory:", isolation_level=None))
    with pytest.raises(StorageError, match="did not take journal_mode = WAL"):
        engine.open_writer()


def test_a_batch_is_one_transaction_and_a_refusal_takes_nobody_with_it(database: Database) -> None:
    async def work() -> list[Any]:
        kinds = ["x-1", "refused", "x-2", "x-3"]
        jobs = [database.write(add_kinds, kind) for kind in kinds]
        return await asyncio.gather(*jobs, return_exceptions=True)

    outcomes = served(database, work)
    assert [str(each) for each in outcomes] == ["x-1", "refused", "x-2", "x-3"]
    with database.snapshot() as snapshot:
        assert kinds_of(snapshot, "x-") == ["x-1", "x-2", "x-3"]


@pytest.mark.parametrize("culprit", ["breaks", "contacts"])
def test_one_that_breaks_the_transaction_takes_none_of_the_others_with_it(
    database: Database, culprit: str
) -> None:
    async def work() -> list[Any]:
        kinds = [*(f"x-{number}" for number in range(40)), culprit, *(f"y-{number}" for number in range(40))]
        return await asyncio.gather(
            *(database.write(add_kinds, kind) for kind in kinds), return_exceptions=True
        )

    outcomes = served(database, work)
    assert [type(each) for each in outcomes if isinstance(each, Exception)] == [
        {"breaks": ValueError, "contacts": driver.IntegrityError}[culprit]
    ]
    with database.snapshot() as snapshot:
        assert len(kinds_of(snapshot, "x-") + kinds_of(snapshot, "y-")) == 80


def break_reference(transaction: Transaction, items: list[int]) -> list[int]:
    transaction._session.order("PRAGMA defer_foreign_keys = ON")
    transaction._session.order("INSERT INTO contact_counts VALUES (99, 0, 0, 0)")
    return items


def test_a_commit_that_one_of_its_group_breaks_takes_none_of_the_others_with_it(database: Database) -> None:
    async def work() -> list[Any]:
        group = [
            database.write(add_kinds, "x-1"),
            database.write(break_reference, 1),
            database.write(add_kinds, "x-2"),
        ]
        outcomes = await asyncio.gather(*group, return_exceptions=True)
        later = await database.write(add_kinds, "x-3")
        return [*outcomes, later]

    first, broken, second, later = served(database, work)
    assert type(broken) is driver.IntegrityError
    assert (first, second, later) == ("x-1", "x-2", "x-3")
    with database.snapshot() as snapshot:
        assert kinds_of(snapshot, "x-") == ["x-1", "x-2", "x-3"]


def test_an_operation_that_answers_too_few_is_an_error_and_keeps_nothing(database: Database) -> None:
    def forgetful(transaction: Transaction, kinds: list[str]) -> list[str]:
        add_kinds(transaction, kinds)
        return []

    with pytest.raises(RuntimeError, match="answered 0 of 1 items"):
        served(database, lambda: database.write(forgetful, "x-1"))
    with database.snapshot() as snapshot:
        assert kinds_of(snapshot, "x-") == []


def test_a_read_that_fails_takes_none_of_the_others_with_it(database: Database) -> None:
    def failing(_snapshot: Snapshot, _item: int) -> int:
        raise ValueError("broken")

    async def work() -> Any:
        jobs: list[Any] = [
            database.read(kinds_of, "contacts"),
            database.read(failing, 1),
            database.read(kinds_of, "keys"),
        ]
        return await asyncio.gather(*jobs, return_exceptions=True)

    first, second, third = served(database, work)
    assert (first, type(second), third) == (["contacts"], ValueError, ["keys"])


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
        other = driver.connect(str(tmp_path / "rollbook.db"), isolation_level=None)
        other.execute("UPDATE id_leases SET next_id = 7 WHERE kind = 'x-1'")
        other.close()
        assert await database.remembered(look, "x-1") == 7
        script = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute('UPDATE id_leases SET next_id = 8'); c.commit()"
        await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", script, str(tmp_path / "rollbook.db")], check=True
        )
        assert await database.remembered(look, "x-1") == 8

    served(database, work)


def test_more_than_may_wait_are_refused_and_the_rest_is_done(database: Database) -> None:
    async def work() -> list[Any]:
        jobs = [asyncio.ensure_future(database.write(add_kinds, f"x-{number}")) for number in range(20)]
        return await asyncio.gather(*jobs, return_exceptions=True)

    outcomes = served(database, work, max_waiting=5)
    assert [type(each) for each in outcomes].count(Unavailable) == 15
    with database.snapshot() as snapshot:
        assert len(kinds_of(snapshot, "x-")) == 5


def test_what_has_waited_too_long_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LONGEST_WAIT_SECONDS", -1.0)
    with pytest.raises(Unavailable, match="in time"):
        served(database, lambda: database.write(add_kinds, "x-1"))


def test_work_that_fails_as_it_never_should_is_answered_and_the_next_is_done() -> None:
    def work(jobs: list[workers.Job]) -> list[str]:
        if jobs[0].argument == "fails":
            raise ValueError("broken")
        return ["done"] * len(jobs)

    async def main() -> None:
        jobs = workers.Queue(10)
        worker = workers.Worker("tested", jobs, 1, work)
        worker.start()
        failing, next_one = jobs.submit(print, "fails"), jobs.submit(print, "works")
        with pytest.raises(ValueError, match="broken"):
            await failing
        assert await next_one == "done"
        jobs.close(1)
        await asyncio.to_thread(worker.join)

    asyncio.run(main())


def test_a_database_that_is_not_started_or_has_stopped_is_unavailable(database: Database) -> None:
    async def nothing() -> None:
        return None

    async def ask_all() -> Any:
        both = (database.write(add_kinds, "x-1"), database.read(kinds_of, "x-1"))
        return await asyncio.gather(*both, return_exceptions=True)

    for _ in range(2):
        assert [type(each) for each in asyncio.run(ask_all())] == [Unavailable, Unavailable]
        for look in (database.remembered, database.glance):
            with pytest.raises(Unavailable):
                asyncio.run(look(kinds_of, "x-1"))
        with pytest.raises(Unavailable):
            asyncio.run(database.ready())
        served(database, nothing)


def test_a_writer_that_waits_in_vain_for_the_lock_says_so(tmp_path: Path) -> None:
    def connect(path: Path) -> Any:
        connection = driver.connect(str(path), isolation_level=None, check_same_thread=False)
        return connection

    database = Database(SQLite(tmp_path / "rollbook.db", connect=connect))
    bring_up_to_date(database)
    database._session().rows("PRAGMA busy_timeout = 10")
    other = driver.connect(str(tmp_path / "rollbook.db"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        served(database, lambda: database.write(add_kinds, "x-1"))
    other.close()


def test_ids_are_never_given_twice(database: Database, tmp_path: Path) -> None:
    given: list[int] = []
    with database.transaction() as transaction:
        given += transaction.new_ids("contacts", 3 * BLOCK + 1)
    with contextlib.suppress(ValueError), database.transaction() as transaction:
        transaction.new_ids("contacts", 2 * BLOCK)
        raise ValueError("undone")
    second = Database(SQLite(tmp_path / "rollbook.db"))
    for each in (second, database, second, database):
        with each.transaction() as transaction:
            given += transaction.new_ids("contacts", 700)
    second.close()
    assert len(set(given)) == len(given)
    assert max(given) < 2**53
    with (
        pytest.raises(LookupError, match="no ids are kept for 'nothing'"),
        database.transaction() as transaction,
    ):
        transaction.new_ids("nothing", 1)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 63, 64, 65, 127, 128, 200])
def test_any_number_of_rows_is_inserted(database: Database, count: int) -> None:
    with database.transaction() as transaction:
        transaction.insert(add_lease, [(f"x-{number:03}", number) for number in range(count)])
        assert kinds_of(transaction, "x-") == [f"x-{number:03}" for number in range(count)]
        assert transaction.statements_run <= 8 + 1


def test_columns_out_of_order_are_refused() -> None:
    wrong = InsertRows(insert(tables.id_leases), ["next_id", "kind"])
    with pytest.raises(ValueError, match="not in the order of the table"):
        wrong.text(SQLITE, 1)


def test_every_statement_of_the_register_fits_the_schema(database: Database) -> None:
    session = database._session()
    checked = 0
    for statement in list(every_statement):
        if statement.only not in (None, "sqlite"):
            continue
        sql, names, _ = statement.compiled(SQLITE)
        session.rows("EXPLAIN " + sql, [None] * len(names))
        assert not re.search(r"select\s+\*", sql, re.IGNORECASE)
        checked += 1
    assert checked >= 25


def normalised(sql: str) -> list[str]:
    """Return the parts of a statement, a line each, in an order that does not matter to the database."""
    return sorted(re.sub(r"[\s\",]+", "", line) for line in sql.strip().splitlines())


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


def test_the_revisions_are_those_of_the_migrations() -> None:
    folder = Path(tables.__file__).with_name("migrations")
    scripts = ScriptDirectory(str(folder))
    assert tuple(script.revision for script in reversed(list(scripts.walk_revisions()))) == tables.REVISIONS


# The register's own tables, which belong to no site.
OF_NO_SITE = {"users", "keys", "tokens", "id_leases", "kept_answers"}


@pytest.mark.parametrize(
    "table", [t for t in tables.metadata.sorted_tables if t.name not in OF_NO_SITE], ids=str
)
def test_keys_begin_with_the_site(table: Any) -> None:
    site = "id" if table.name == "sites" else "site_id"
    assert next(iter(table.primary_key.columns)).name == site
    if table.name == "sites":
        return
    for constraint in table.constraints:
        columns = [column.name for column in getattr(constraint, "columns", [])]
        to_keys = table.name == "key_sites" and columns == ["key_id"]
        assert (
            not columns
            or columns[0] == site
            or to_keys
            or "event IN" in str(getattr(constraint, "sqltext", ""))
        )
    for index in table.indexes:
        assert next(iter(index.columns)).name == site or index.name == "key_sites_by_key"


def test_a_newer_schema_is_refused(database: Database) -> None:
    database._session().order("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatch, match="newer than this program"):
        bring_up_to_date(database)


def test_two_migrations_at_once_make_one_schema(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/rollbook.db"
    environment = os.environ | {"ROLLBOOK_DATABASE": url}
    command = [sys.executable, "-m", "rollbook", "db", "upgrade"]
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.wait(60) for process in both] == [0] * 4
    for process in both:
        assert process.stdout is not None
        process.stdout.close()
    assert run_rollbook("db", "check", ROLLBOOK_DATABASE=url).returncode == 0


def test_a_file_that_cannot_be_migrated_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "rollbook.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE sites (x)")
    connection.close()
    database = open_database(f"sqlite:///{path}")
    with pytest.raises(Exception, match="table sites already exists"):
        bring_up_to_date(database)
    database.close()


def test_opening_and_closing_leaves_no_file_open(database: Database, tmp_path: Path) -> None:
    async def nothing() -> None:
        return None

    served(database, nothing)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        each = Database(SQLite(tmp_path / "rollbook.db"))
        served(each, nothing)
    assert len(os.listdir("/proc/self/fd")) == before
