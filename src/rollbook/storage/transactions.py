"""What an operation may do to the register: read, or within a write, read and change."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Dialect

from rollbook.storage.engines import Session
from rollbook.storage.statements import InsertRows, Row, Statement, chunks_of
from rollbook.storage.tables import REMEMBERED

if TYPE_CHECKING:
    from rollbook.storage.ids import Allotter

In = TypeVar("In")
Out = TypeVar("Out")
MOST_REMEMBERED = 10_000
NOTHING: Mapping[str, Any] = {}


class TakesLong(Exception):
    """A look that was to be a short one is not."""


class Outdated(Exception):
    """What an operation was prepared by, from memory, has changed meanwhile; it was not done."""


class AsksMore(Exception):
    """What was to be one statement is several, which must see one state."""


class Snapshot:
    """One consistent state of the register, to be read.

    `is_hurried` says that everybody waits for who reads it: what might scan raises TakesLong. A `memory` that
    is not proven is forgotten at its first use, unless the session is current.
    """

    __slots__ = ("_dialect", "_is_proven", "_memory", "_session", "is_hurried", "statements_run")

    def __init__(
        self,
        session: Session,
        dialect: Dialect,
        memory: dict[tuple[Any, Any], Any] | None = None,
        *,
        is_hurried: bool = False,
        is_proven: bool = True,
    ) -> None:
        self.is_hurried = is_hurried
        self._is_proven = is_proven
        self._session = session
        self._dialect = dialect
        self._memory = memory
        self.statements_run = 0

    @property
    def dialect_name(self) -> str:
        """The name of the database's kind: sqlite or postgresql."""
        return self._dialect.name

    @property
    def changes(self) -> int:
        """How often anybody has changed what servers remember, in this state."""
        return self._session.changes

    def rows(self, statement: Statement, values: Mapping[str, Any] = NOTHING) -> list[Row]:
        """Run a statement and return all of its rows."""
        self.statements_run += 1
        sql, parameters = statement.bind(self._dialect, values)
        return self._session.rows(sql, parameters)

    def remembered(self, look: Callable[["Snapshot", In], Out], item: In) -> Out:
        """Look something up, or have it from memory where nobody has committed since it was looked up."""
        if self._memory is None:
            return look(self, item)
        self.prove_memory()
        key = (look, item)
        if key not in self._memory:
            self._memory[key] = look(self, item)
        found: Out = self._memory[key]
        return found

    def prove_memory(self) -> None:
        """Forget what is remembered, unless nobody has changed what it depends on."""
        if not self._is_proven:
            self._is_proven = True
            if self._memory is not None and not self._session.is_current:
                self._memory.clear()

    def row(self, statement: Statement, values: Mapping[str, Any] = NOTHING) -> Row | None:
        """Run a statement and return its only row, or None."""
        rows = self.rows(statement, values)
        return rows[0] if rows else None


class Look(Snapshot):
    """The state that a single statement sees, which is a transaction of its own; AsksMore is raised by what
    would be another. What is remembered is gone by, and proven once the look is over.
    """

    __slots__ = ()

    def rows(self, statement: Statement, values: Mapping[str, Any] = NOTHING) -> list[Row]:
        """Run a statement and return all of its rows."""
        if self.statements_run:
            raise AsksMore
        return super().rows(statement, values)

    def remembered(self, look: Callable[[Snapshot, In], Out], item: In) -> Out:
        """Return what is remembered."""
        if self._memory is None or (look, item) not in self._memory:
            raise AsksMore
        found: Out = self._memory[look, item]
        return found


class Transaction(Snapshot):
    """One transaction that writes: all of it is kept, or nothing.

    `changed` has the names of the tables that it changes. A `memory` is forgotten at its first use, unless
    the session is current.
    """

    __slots__ = ("_ids", "_locked", "changed", "owed")

    def __init__(
        self,
        session: Session,
        dialect: Dialect,
        ids: "Allotter",
        memory: dict[tuple[Any, Any], Any] | None = None,
    ) -> None:
        super().__init__(session, dialect, memory, is_proven=False)
        self._ids = ids
        self._locked: set[int] = set()
        self.changed: set[str] = set()
        self.owed = 0

    def remembered(self, look: Callable[[Snapshot, In], Out], item: In) -> Out:
        """Look something up, or have it from memory; not where this transaction may have changed it."""
        if not REMEMBERED.isdisjoint(self.changed):
            return look(self, item)
        return super().remembered(look, item)

    def lock_sites(self, site_ids: Iterable[int]) -> None:
        """Have the sites to oneself until the end, but for what only adds contacts.

        Whoever reads a site to decide what to write there begins with this. Where there is one writer, it
        has them anyway; elsewhere two that do the same must not both go by what they read before the
        other's commit. In order, so that two that want the same sites do not wait for each other.
        """
        for site_id in sorted(set(site_ids) - self._locked):
            self._locked.add(site_id)
            self._session.lock_site(site_id)

    def lock_beginning(self) -> None:
        """Have nobody else decide, until the end, whether the register is empty."""
        self._session.lock_beginning()

    def insert(self, statement: InsertRows, rows: Sequence[Sequence[Any]]) -> list[Row]:
        """Insert rows with as few statements as their number allows; return what these return."""
        if rows and statement.changes is not None:
            self.changed.add(statement.changes)
        if len(rows) > 1 and statement.takes_array(self._dialect):
            return self._run(statement, statement.text_of_array(self._dialect), [statement.array(rows)])
        returned: list[Row] = []
        start = 0
        for size in chunks_of(len(rows)):
            parameters = [value for row in rows[start : start + size] for value in row]
            returned.extend(self._run(statement, statement.text(self._dialect, size), parameters))
            start += size
        return returned

    def run(self, statement: Statement, values: Mapping[str, Any] = NOTHING) -> list[Row]:
        """Run a statement that changes the register; return the rows that it returns."""
        if statement.changes is not None:
            self.changed.add(statement.changes)
        return self._run(statement, *statement.bind(self._dialect, values))

    def _run(self, statement: Statement | InsertRows, sql: str, parameters: Sequence[Any]) -> list[Row]:
        self.statements_run += 1
        if statement.returns:
            return self._session.rows(sql, parameters)
        self._session.order(sql, parameters)
        return []

    def owes(self, count: int) -> None:
        """Note that so much is left to be done in a quiet moment."""
        self.owed += count

    def new_ids(self, kind: str, count: int) -> list[int]:
        """Return `count` ids of a kind, ascending, that were never given to anything else."""
        return self._ids.take(self, kind, count)
