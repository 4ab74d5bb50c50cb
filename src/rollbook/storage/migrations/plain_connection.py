"""A connection to SQLite by the words of Python's DB-API (PEP 249), which SQLAlchemy and Alembic speak.

The driver has words of its own, and no need of these where time matters.
"""

from collections.abc import Sequence
from typing import Any

import apsw


class PlainConnection:
    """A connection that begins nothing by itself."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def cursor(self) -> "PlainCursor":
        """Return a cursor."""
        return PlainCursor(self._connection.cursor())

    def create_function(self, *_: Any, **_more: Any) -> None:
        """Do nothing: SQLAlchemy offers functions of its own, which migrations do not call."""

    def commit(self) -> None:
        """Keep what was written since a transaction began, if one did."""
        if self._connection.in_transaction:
            self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """Undo what was written since a transaction began, if one did."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class PlainCursor:
    """A cursor, with the rows of its last statement."""

    arraysize = 1
    lastrowid = None

    def __init__(self, cursor: apsw.Cursor) -> None:
        self.description: Any = None
        self.rowcount = -1
        self._rows: list[Any] = []
        self._cursor = cursor
        cursor.exec_trace = self._note

    def _note(self, cursor: apsw.Cursor, _sql: str, _bindings: Any) -> bool:
        described = cursor.get_description()
        self.description = [(name, *[None] * 6) for name, _ in described] or None
        return True

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement; raises the driver's errors."""
        self.description = None
        self._rows = list(self._cursor.execute(sql, parameters or None))
        self.rowcount = self._cursor.connection.changes()

    def executemany(self, sql: str, many: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for each list of parameters."""
        for parameters in many:
            self.execute(sql, parameters)

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        return self._rows.pop(0) if self._rows else None

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        rows, self._rows = self._rows, []
        return rows

    def close(self) -> None:
        """Close the cursor."""
        self._cursor.close()
