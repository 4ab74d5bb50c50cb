"""What an operation may do to the register: read, or within a write, read and change."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Dialect

from rollbook.storage.statements import CHUNKS, Connection, InsertRows, Statement

if TYPE_CHECKING:
    from rollbook.storage.ids import Allotter

Row = tuple[Any, ...]
In = TypeVar("In")
Out = TypeVar("Out")
NOTHING: Mapping[str, Any] = {}


class Snapshot:
    """One consistent state of the register, to be read."""

    __slots__ = ("_connection", "_dialect", "_memory", "statements_run")

    def __init__(
        self, connection: Connection, dialect: Dialect, memory: dict[tuple[Any, Any], Any] | None = None
    ) -> None:
        self._connection = connection
        self._dialect = dialect
        self._memory = memory
        self.statements_run = 0

    @property
    def dialect_name(self) -> str:
        """The name of the database's kind: sqlite or postgresql."""
        return self._dialect.name

    def rows(self, statement: Statement, values: Mapping[str, Any] = NOTHING) -> list[Row]:
        """Run a statement and return all of its rows."""
        self.statements_run += 1
        sql, parameters = statement.bind(self._dialect, values)
        return self._connection.execute(sql, parameters).fetchall()

    def remembered(self, look: Callable[["Snapshot", In], Out], item: In) -> Out:
        """Look something up, or have it from memory where nobody has committed since it was looked up."""
        if self._memory is None:
            return look(self, item)
        key = (look, item)
        if key not in self._memory:
            self._memory[key] = look(self, item)
        found: Out = self._memory[key]
        return found

    def row(self, statement: Statement, values: Mapping[str, Any] = NOTHING) -> Row | None:
        """Run a statement and return its only row, or None."""
        rows = self.rows(statement, values)
        return rows[0] if rows else None


class Transaction(Snapshot):
    """One transaction of the one writer: all of it is kept, or nothing."""

    __slots__ = ("_ids", "owed")

    def __init__(self, connection: Connection, dialect: Dialect, ids: "Allotter") -> None:
        super().__init__(connection, dialect)
        self._ids = ids
        self.owed = 0

    def insert(self, statement: InsertRows, rows: Sequence[Sequence[Any]]) -> list[Row]:
        """Insert rows with as few statements as their number allows; return what these return."""
        returned: list[Row] = []
        start = 0
        for size in CHUNKS:
            while len(rows) - start >= size:
                self.statements_run += 1
                parameters = [value for row in rows[start : start + size] for value in row]
                sql = statement.text(self._dialect, size)
                returned.extend(self._connection.execute(sql, parameters).fetchall())
                start += size
        return returned

    def run(self, statement: Statement, values: Mapping[str, Any] = NOTHING) -> list[Row]:
        """Run a statement that changes the register; return the rows that it returns."""
        return self.rows(statement, values)

    def owes(self, count: int) -> None:
        """Note that so much is left to be done in a quiet moment."""
        self.owed += count

    def new_ids(self, kind: str, count: int) -> list[int]:
        """Return `count` ids of a kind, ascending, that were never given to anything else."""
        return self._ids.take(self, kind, count)
