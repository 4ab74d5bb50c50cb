"""Copies a whole register into another database, of either kind, and proves that the two are alike.

The copy goes by primary keys, table after table, so that what is there already says where an interrupted one
goes on: there is no place that could disagree with the rows. Until it is complete, the schema of the copy has
a revision that no program serves.
"""

import contextlib
import hashlib
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import orjson
from sqlalchemy import Table, bindparam, select, tuple_
from sqlalchemy.schema import CreateIndex, DropIndex

from rollbook.storage import search_index
from rollbook.storage.database import Database
from rollbook.storage.engines import Carrier, explaining
from rollbook.storage.faults import StorageError, UnfinishedCopy
from rollbook.storage.migrate import bring_up_to_date
from rollbook.storage.statements import Row, Statement
from rollbook.storage.tables import REVISIONS, UNFINISHED, contacts, id_leases, metadata, search_backlog

# The search index is made anew, so what it lacks is a matter of each database.
TABLES = tuple(table for table in metadata.sorted_tables if table is not search_backlog)
# Building them in one go costs a fraction of adding to them row by row.
INDEXES = tuple(index for table in TABLES for index in sorted(table.indexes, key=lambda each: str(each.name)))

# What is held in memory and committed together: few enough to be small, many enough to write each page of
# an index once for many rows.
MOST_ROWS, MOST_CHARACTERS = 10_000, 16_000_000

NOTE_SOURCE = "CREATE TABLE unfinished_copy (source TEXT NOT NULL, revision TEXT NOT NULL)"
SOURCE = "SELECT source, revision FROM unfinished_copy"


class Tell(Protocol):
    """Hears how far a long work is."""

    def begin(self, what: str, unit: str, of: int, done: int = 0) -> None:
        """Hear that a part begins: how much it is, and how much of that was done before."""

    def advance(self, by: int) -> None:
        """Hear that more of the part is done."""

    def end(self, *, quietly: bool = False) -> None:
        """Hear that the part is done; `quietly` where that is told in another way."""


class Proof(NamedTuple):
    """What a table holds on both sides: the number of rows, and the SHA-256 over them."""

    table: str
    source: tuple[int, str]
    copy: tuple[int, str]

    @property
    def is_alike(self) -> bool:
        """Whether the copy holds what its source does."""
        return self.source == self.copy


@contextlib.contextmanager
def under_way(source: Database, target: Database) -> Iterator["Copy"]:
    """Open a new copy, or one that was interrupted; raise StorageError where there can be none."""
    if source.engine.place == target.engine.place:
        raise StorageError(f"FROM and TO are the same database, {source.engine.name}. Name two.")
    if not source.engine.is_there() or (revision := source.revision()) is None:
        raise StorageError(f"There is no register in {source.engine.name}, so there is nothing to copy.")
    if revision != REVISIONS[-1]:
        raise StorageError(
            f"The schema of {source.engine.name} is {revision}, but this program copies {REVISIONS[-1]}. "
            "Run `rollbook db upgrade` with ROLLBOOK_DATABASE set to it first."
        )
    with contextlib.closing(target.engine.open_carrier(writing=True)) as writing:
        with contextlib.closing(source.engine.open_carrier(writing=False)) as reading:
            with explaining(source.engine), explaining(target.engine):
                _mark(source, target, writing)
                reading.begin_reading()
                yield Copy(source, target, reading, writing)


def _mark(source: Database, target: Database, writing: Carrier) -> None:
    """Make the schema, and mark it as unfinished; raise StorageError where the copy cannot begin or go on."""
    name = target.engine.name
    try:
        bring_up_to_date(target)
    except UnfinishedCopy:
        ((of, revision),) = writing.rows(SOURCE)
        if (of, revision) != (source.engine.place, REVISIONS[-1]):
            raise StorageError(
                f"{name} is an unfinished copy of {of} with the schema {revision}. Complete that with its "
                "own FROM and program, or remove it and begin anew."
            ) from None
        return
    for table in TABLES:
        if table is not id_leases and writing.rows(f"SELECT 1 FROM {table.name} LIMIT 1"):
            raise StorageError(
                f"{name} holds a register already: there are rows in {table.name}. A copy needs a database "
                "without any; name another."
            )
    writing.begin()
    writing.order(f"DELETE FROM {id_leases.name}")
    for index in INDEXES:
        writing.order(str(DropIndex(index, if_exists=True).compile(dialect=target.engine.dialect)))
    for statement in search_index.BEFORE_FILLING[target.engine.dialect.name]:
        writing.order(statement)
    writing.order(NOTE_SOURCE)
    writing.load("unfinished_copy", ["source", "revision"], [(source.engine.place, REVISIONS[-1])])
    writing.order(f"UPDATE alembic_version SET version_num = '{UNFINISHED}'")
    writing.commit()


class Copy:
    """A copy that is under way, out of one consistent state of its source."""

    def __init__(self, source: Database, target: Database, reading: Carrier, writing: Carrier) -> None:
        self._source, self._target = source, target
        self._reading, self._writing = reading, writing

    def carry(self, tell: Tell) -> None:
        """Copy what is not there yet, parents before those that point at them, then build the indexes."""
        for table in TABLES:
            self._carry(table, tell)
        tell.begin("indexes", "indexes", len(INDEXES))
        for index in INDEXES:
            create = CreateIndex(index, if_not_exists=True)
            self._writing.order(str(create.compile(dialect=self._target.engine.dialect)))
            tell.advance(1)
        tell.end()

    def _carry(self, table: Table, tell: Tell) -> None:
        count = f"SELECT count(*) FROM {table.name}"
        there = self._writing.rows(count)[0][0]
        tell.begin(table.name, "rows", self._reading.rows(count)[0][0], there)
        last = self._writing.rows(*_last_key(table, self._target)) if there else []
        rows = self._reading.stream(*_rows_after(table, last[0] if last else None, self._source))
        with contextlib.closing(rows):
            for portion in _portions(rows):
                self._keep(table, portion)
                tell.advance(len(portion))
        tell.end()

    def _keep(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert rows, and commit; what becomes a contact is owed to the search index."""
        try:
            self._writing.begin()
            self._writing.load(table.name, table.columns.keys(), rows)
            if table is contacts:
                at = [list(table.columns).index(column) for column in (table.c.site_id, table.c.id)]
                owed = [(row[at[0]], row[at[1]]) for row in rows]
                self._writing.load(search_backlog.name, search_backlog.columns.keys(), owed)
            self._writing.commit([table.name])
        except Exception as error:
            self._writing.roll_back()
            explained = self._target.engine.explained(error)
            if isinstance(explained, StorageError):
                raise explained from error
            raise StorageError(
                f"{self._target.engine.name} does not take rows of {table.name} ({type(error).__name__}). "
                "Either FROM changed after an interrupted copy, or it is damaged. Check FROM with "
                "`rollbook db check`, stop its server, remove the copy, and begin anew."
            ) from error

    def proofs(self, tell: Tell) -> Iterator[Proof]:
        """Compare the tables, each with its source; the source is not read after that."""
        self._writing.begin_reading()
        for table in TABLES:
            rows = self._writing.rows(f"SELECT count(*) FROM {table.name}")[0][0]
            tell.begin(f"{table.name} compared", "rows", 2 * rows)
            source = digest(self._reading, table, self._source, tell)
            proof = Proof(table.name, source, digest(self._writing, table, self._target, tell))
            tell.end(quietly=True)
            yield proof
        self._writing.roll_back()
        self._reading.roll_back()

    def complete(self) -> None:
        """Take the mark away, so that the copy can be served."""
        self._writing.begin()
        for statement in search_index.AFTER_FILLING[self._target.engine.dialect.name]:
            self._writing.order(statement)
        self._writing.order("DROP TABLE unfinished_copy")
        self._writing.order(f"UPDATE alembic_version SET version_num = '{REVISIONS[-1]}'")
        self._writing.commit(table.name for table in TABLES)
        self._writing.settle()


def digest(carrier: Carrier, table: Table, database: Database, tell: Tell) -> tuple[int, str]:
    """Return the number of a table's rows, and the SHA-256 over them in the order of their keys.

    What is hashed is the same in every database: a line for the names and one for each row, each a JSON
    array without blanks, ended by a line feed; bytes are in hexadecimal digits.
    """
    line = orjson.OPT_APPEND_NEWLINE
    hashed = hashlib.sha256(orjson.dumps([table.name, *table.columns.keys()], option=line))
    count = 0
    with contextlib.closing(carrier.stream(*_rows_after(table, None, database))) as rows:
        for row in rows:
            hashed.update(orjson.dumps(row, option=line, default=bytes.hex))
            count += 1
            if not count % 1_000:
                tell.advance(1_000)
    tell.advance(count % 1_000)
    return count, hashed.hexdigest()


def _portions(rows: Generator[Row, None, None]) -> Iterator[list[Row]]:
    portion: list[Row] = []
    characters = 0
    for row in rows:
        portion.append(row)
        characters += sum(len(value) for value in row if isinstance(value, str | bytes))
        if len(portion) >= MOST_ROWS or characters >= MOST_CHARACTERS:
            yield portion
            portion, characters = [], 0
    if portion:
        yield portion


def _rows_after(table: Table, key: Row | None, database: Database) -> tuple[str, list[Any]]:
    """Return the question for the rows of a table in the order of their keys, those after a key."""
    columns = list(table.primary_key)
    asked = select(*table.columns).order_by(*columns)
    values: dict[str, Any] = {}
    if key is not None:
        places = [bindparam(f"after_{column.name}", type_=column.type) for column in columns]
        asked = asked.where(tuple_(*columns) > tuple_(*places))
        values = {f"after_{column.name}": value for column, value in zip(columns, key, strict=True)}
    return Statement(asked).bind(database.engine.dialect, values)


def _last_key(table: Table, database: Database) -> tuple[str, list[Any]]:
    columns = list(table.primary_key)
    asked = select(*columns).order_by(*(column.desc() for column in columns)).limit(1)
    return Statement(asked).bind(database.engine.dialect, {})
