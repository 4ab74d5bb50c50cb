"""SQLAlchemy expressions compiled once, so that a request pays for the database alone."""

import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import ClauseElement, Dialect, Insert

# A statement of many rows is made of these sizes, so that few texts are prepared whatever is asked.
CHUNKS = (64, 32, 16, 8, 4, 2, 1)


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

    The expression is compiled by the first connection that uses it, with positional parameters. `only`
    names the one kind of database that it is for.
    """

    __slots__ = ("__weakref__", "_compiled", "_expression", "only")

    def __init__(self, expression: ClauseElement, only: str | None = None) -> None:
        self._expression = expression
        self.only = only
        self._compiled: tuple[str, tuple[str, ...], dict[str, Any]] | None = None
        every_statement.add(self)

    def compiled(self, dialect: Dialect) -> tuple[str, tuple[str, ...], dict[str, Any]]:
        """Return the SQL, the names of its parameters in order, and the values that are fixed."""
        if self._compiled is None:
            compiled: Any = self._expression.compile(dialect=dialect)
            fixed = {name: value for name, value in compiled.params.items() if value is not None}
            self._compiled = str(compiled), tuple(compiled.positiontup or ()), fixed
        return self._compiled

    def bind(self, dialect: Dialect, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """Return the SQL and its parameters in order; raises KeyError for one that is missing."""
        sql, names, fixed = self._compiled or self.compiled(dialect)
        return sql, [values[name] if name in values else fixed[name] for name in names]


class InsertRows:
    """An INSERT of any number of rows, whose columns are named in the order of their table."""

    __slots__ = ("_columns", "_insert", "_texts")

    def __init__(self, insert: Insert, columns: Sequence[str], only: str | None = None) -> None:
        # The values are placeholders: what is inserted is given row by row.
        self._insert = Statement(insert.values(dict.fromkeys(columns, "")), only)
        self._columns = tuple(columns)
        self._texts: dict[int, str] = {}

    def text(self, dialect: Dialect, rows: int) -> str:
        """Return the SQL that inserts so many rows at once."""
        sql = self._texts.get(rows)
        if sql is None:
            single, names, _ = self._insert.compiled(dialect)
            if names != self._columns:
                raise ValueError(f"the columns {self._columns} are not in the order of the table: {names}")
            one_row = "(" + ", ".join("?" * len(names)) + ")"
            head, _, tail = single.partition(f"VALUES {one_row}")
            sql = self._texts[rows] = head + "VALUES " + ", ".join([one_row] * rows) + tail
        return sql


every_statement: "weakref.WeakSet[Statement]" = weakref.WeakSet()
