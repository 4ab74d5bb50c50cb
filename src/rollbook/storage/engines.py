"""What the databases share: an engine opens sessions, and knows what its errors mean."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol, runtime_checkable

from sqlalchemy import Dialect

from rollbook.storage.statements import Row
from rollbook.storage.workers import Queue, Work


class Session(Protocol):
    """A way to the database for one thread at a time: one transaction after another.

    `is_current` says whether what was remembered in an earlier transaction of the session may still be
    used in this one, because nobody has changed it meanwhile.
    """

    @property
    def is_current(self) -> bool: ...

    @property
    def changes(self) -> int:
        """How often anybody has changed what servers remember, in the state that is read, or else as of now;
        0 where the session knows by itself whether it is current.
        """

    def begin(self, again: bool = False) -> bool:
        """Begin to write; `again` for another attempt at the same work.

        Returns False where an earlier attempt turns out to be committed: then nothing is begun.
        """

    def begin_reading(self) -> None:
        """Begin to read one consistent state."""

    def begin_looking(self) -> None:
        """Begin to read by statements each of which sees a state of its own, later than the one before."""

    def lock_site(self, site_id: int) -> None:
        """Keep other writers from a site until the end, but for what only adds contacts."""

    def lock_beginning(self) -> None:
        """Keep others who call this waiting until the end."""

    def rows(self, sql: str, parameters: Sequence[Any] = ...) -> list[Row]:
        """Run a statement and return its rows."""

    def order(self, sql: str, parameters: Sequence[Any] = ...) -> None:
        """Run a statement that returns no rows; what is wrong with it may be raised by a later call."""

    def commit(self, changed: Iterable[str] = ()) -> None:
        """Keep what was written, on disk, or end reading; `changed` names the tables that were."""

    def roll_back(self) -> None:
        """Undo what was written; never raises."""

    def close(self) -> None:
        """Let go of the database."""


@runtime_checkable
class NearSession(Session, Protocol):
    """A way to a database whose statements cost less than a change of threads.

    `state` is another after each commit, of any process. `is_log_long` says that a commit may have to carry
    over what earlier ones have written.
    """

    @property
    def state(self) -> bytes: ...

    @property
    def is_log_long(self) -> bool: ...

    def begin_at_once(self) -> bool:
        """Begin to write, unless somebody else is writing; return whether it was begun."""

    def pass_by(self, state: bytes) -> None:
        """Stay current in spite of one commit, where it alone was made since that state."""


class Carrier(Protocol):
    """A way to the database for one thread that carries whole tables out of it or into it.

    While rows of a `stream` are still to come, nothing else may be asked.
    """

    def begin(self) -> bool:
        """Begin to write."""

    def begin_reading(self) -> None:
        """Begin to read one consistent state."""

    def rows(self, sql: str, parameters: Sequence[Any] = ...) -> list[Row]:
        """Run a statement and return its rows."""

    def order(self, sql: str, parameters: Sequence[Any] = ...) -> None:
        """Run a statement that returns no rows."""

    def stream(self, sql: str, parameters: Sequence[Any] = ...) -> Generator[Row, None, None]:
        """Run a statement and return its rows as they are read, however many there are."""

    def load(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert many rows."""

    def settle(self) -> None:
        """Let the database tidy up after it was filled."""

    def commit(self, changed: Iterable[str] = ()) -> None:
        """Keep what was written, on disk; `changed` names the tables that were."""

    def roll_back(self) -> None:
        """Undo what was written, or end reading; never raises."""

    def close(self) -> None:
        """Let go of the database."""


class Engine(Protocol):
    """One database.

    `remedy` is what to do with a damaged one. `readers` is how many read it at a time. `is_near` says that
    a look-up costs less than a change of threads, `serves_many` that several servers may serve it at once.
    """

    @property
    def dialect(self) -> Dialect: ...

    @property
    def name(self) -> str:
        """The database as messages and logs name it: by its URL, without a password."""

    @property
    def place(self) -> str:
        """The same for the same database, however it was named."""

    remedy: str
    readers: int
    is_near: bool
    serves_many: bool

    @property
    def was_kept_whole(self) -> bool:
        """Whether the last server kept all that this program keeps; known once it is locked."""

    def is_there(self) -> bool:
        """Say whether there is a database; one that is away, and not merely missing, counts as there."""

    def prepare(self) -> None:
        """Make the database where it can be made; raise StorageError where it cannot be used."""

    def lock_for_server(self) -> None:
        """Keep other servers out where only one may serve; raise StorageError where another does."""

    def note_kept_whole(self) -> None:
        """Note, for the next server, that all is kept that this program keeps."""

    def open_writer(self) -> Session:
        """Return a session that may write."""

    def open_reader(self) -> Session:
        """Return a session that cannot write."""

    def open_onlooker(self) -> Session:
        """Return a session that changes nothing, not even how the database is kept."""

    def open_carrier(self, *, writing: bool) -> Carrier:
        """Return a way to carry tables; raise StorageError where the database serves, or is copied into.

        Where it writes, nobody else copies into or out of the database until it is closed.
        """

    def queue(self, limit: int, works: Sequence[Work]) -> Queue:
        """Return a queue of jobs, which are done by these works; on the loop that runs."""

    def pauses(self) -> Iterator[bool]:
        """Wait before each further attempt at a transaction that is asked for; end where patience does."""

    def may_pass(self, error: Exception, attempts: int) -> bool:
        """Say whether a transaction that ended in this error, so many attempts before it, may succeed when
        it is done again.
        """

    def explained(self, error: Exception) -> Exception:
        """Return what an error of the driver means: Unavailable where it may pass, else itself."""

    def revision(self, session: Session) -> str | None:
        """Return the revision of the schema, or None where there is none yet."""

    def faults(self, session: Session) -> list[str]:
        """Return what the database's own checks find wrong; empty when all is well."""

    def scrub(self, session: Session, *, is_hurried: bool = False) -> None:
        """Have nothing left of what was deleted, as far as the database can do that. One that `is_hurried`
        waits no longer for others than a transaction does.
        """

    def upgrade(self) -> None:
        """Bring the schema to the one of this program."""

    def close(self) -> None:
        """Let go of what the engine holds, after its sessions were closed."""


@contextmanager
def explaining(engine: Engine) -> Iterator[None]:
    """Raise what an error of the driver means in the place of it."""
    try:
        yield
    except Exception as error:
        raise_explained(engine, error)


def raise_explained(engine: Engine, error: Exception) -> NoReturn:
    """Raise what an error of the driver means."""
    explained = engine.explained(error)
    if explained is error:
        raise error
    raise explained from error
