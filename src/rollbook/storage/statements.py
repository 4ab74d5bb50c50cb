"""SQLAlchemy expressions compiled once, so that a request pays for the database alone."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import orjson
from sqlalchemy import ClauseElement, Delete, Dialect, Insert, LargeBinary, Update
from sqlalchemy.types import NullType

# A statement of many rows is made of these sizes, so that few texts are prepared whatever is asked.
CHUNKS = (64, 32, 16, 8, 4, 2, 1)
# Stands for the number of rows in the key of a text that takes any number.
ANY_NUMBER = 0


Row = tuple[Any, ...]


class Cursor(Protocol):
    """What the drivers' cursors share."""

    def fetchall(self) -> list[tuple[Any, ...]]: ...

    def fetchone(self) -> tuple[Any, ...] | None: ...


class Connection(Protocol):
    """What the drivers' connections share."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Cursor: ...

    def close(self) -> None: ...


class Statement:
    """A named question or order to the database.

    The expression is compiled once for each kind of database that uses it, with positional parameters. Where
    it is given as what makes it, the text alone is kept, which takes far less memory. `only` names the one
    kind that it is for. `changes` is the table that it changes, where it does, unless `keeps_memory` says
    that nothing that servers remember of it becomes untrue; and `returns` says whether it answers rows.
    """

    __slots__ = ("__weakref__", "_compiled", "_expression", "changes", "only", "returns")

    def __init__(
        self,
        expression: ClauseElement | Callable[[], ClauseElement],
        only: str | None = None,
        *,
        keeps_memory: bool = False,
    ) -> None:
        self._expression = expression
        self._compiled: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {}
        self.only = only
        self.changes: str | None = None
        self.returns = True
        if isinstance(expression, Insert | Update | Delete):
            self.changes = None if keeps_memory else getattr(expression.table, "name", None)
            self.returns = bool(expression._returning)
        every_statement.add(self)

    def compiled(self, dialect: Dialect) -> tuple[str, tuple[str, ...], dict[str, Any]]:
        """Return the SQL, the names of its parameters in order, and the values that are fixed."""
        known = self._compiled.get(dialect.name)
        if known is None:
            given = self._expression
            expression = given if isinstance(given, ClauseElement) else given()
            compiled: Any = expression.compile(dialect=dialect)
            fixed = {name: value for name, value in compiled.params.items() if value is not None}
            known = self._compiled[dialect.name] = str(compiled), tuple(compiled.positiontup or ()), fixed
        return known

    def bind(self, dialect: Dialect, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """Return the SQL and its parameters in order; raises KeyError for one that is missing."""
        sql, names, fixed = self._compiled.get(dialect.name) or self.compiled(dialect)
        return sql, [values[name] if name in values else fixed[name] for name in names]


class InsertRows:
    """An INSERT of any number of rows, whose columns are named in the order of their table.

    The rows are given one by one, or where that is cheaper all as one JSON array (`takes_array`).
    """

    __slots__ = ("_columns", "_statement", "_texts", "_types")

    def __init__(
        self,
        insert: Insert,
        columns: Sequence[str],
        only: str | None = None,
        *,
        keeps_memory: bool = False,
    ) -> None:
        # The values are placeholders: what is inserted is given row by row.
        placed = insert.values(dict.fromkeys(columns, ""))
        self._statement = Statement(placed, only, keeps_memory=keeps_memory)
        self._columns = tuple(columns)
        self._texts: dict[tuple[str, int], str] = {}
        self._types = [insert.table.c[each].type for each in columns]

    @property
    def changes(self) -> str | None:
        """The name of the table that rows are inserted into."""
        return self._statement.changes

    @property
    def returns(self) -> bool:
        """Whether it answers rows."""
        return self._statement.returns

    def text(self, dialect: Dialect, rows: int) -> str:
        """Return the SQL that inserts so many rows at once."""
        sql = self._texts.get((dialect.name, rows))
        if sql is None:
            head, tail = self._around_values(dialect)
            columns = len(self._columns)
            every_row = [_places(dialect, at * columns, columns) for at in range(rows)]
            sql = self._texts[dialect.name, rows] = f"{head}VALUES {', '.join(every_row)}{tail}"
        return sql

    def takes_array(self, dialect: Dialect) -> bool:
        """Say whether the rows can be given as one JSON array, so that one text serves any number of them."""
        return dialect.name == "postgresql" and not any(
            isinstance(each, LargeBinary | NullType) for each in self._types
        )

    def text_of_array(self, dialect: Dialect) -> str:
        """Return the SQL that inserts the rows of a JSON array, its only parameter."""
        sql = self._texts.get((dialect.name, ANY_NUMBER))
        if sql is None:
            head, tail = self._around_values(dialect)
            typed = zip(self._columns, self._types, strict=True)
            columns = ", ".join(f"{name} {each.compile(dialect=dialect)}" for name, each in typed)
            names = ", ".join(f"given.{name}" for name in self._columns)
            rows = f"json_to_recordset(CAST($1 AS json)) AS given({columns})"
            sql = f"{head}SELECT {names} FROM {rows}{tail}"  # noqa: S608 - the names are our own
            self._texts[dialect.name, ANY_NUMBER] = sql
        return sql

    def array(self, rows: Sequence[Sequence[Any]]) -> str:
        """Return rows as a JSON array."""
        return orjson.dumps([dict(zip(self._columns, row, strict=True)) for row in rows]).decode()

    def _around_values(self, dialect: Dialect) -> tuple[str, str]:
        single, names, _ = self._statement.compiled(dialect)
        if names != self._columns:
            raise ValueError(f"the columns {self._columns} are not in the order of the table: {names}")
        head, _, tail = single.partition("VALUES ")
        return head, tail.partition(")")[2]


@lru_cache(maxsize=1_024)
def chunks_of(rows: int) -> tuple[int, ...]:
    """Return the sizes of the statements that insert so many rows: as few as there can be of CHUNKS."""
    sizes: list[int] = []
    for size in CHUNKS:
        sizes += [size] * ((rows - sum(sizes)) // size)
    return tuple(sizes)


def _places(dialect: Dialect, before: int, count: int) -> str:
    """Return the places of a row's parameters, after so many others."""
    if dialect.paramstyle == "qmark":
        return "(" + ", ".join("?" * count) + ")"
    return "(" + ", ".join(f"${before + at + 1}" for at in range(count)) + ")"


every_statement: "weakref.WeakSet[Statement]" = weakref.WeakSet()
