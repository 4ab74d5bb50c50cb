"""Opens the database that a URL names."""

from pathlib import Path

from rollbook.storage.database import Database
from rollbook.storage.faults import StorageError


def open_database(url: str, *, prepares: bool = True, only_reads: bool = False) -> Database:
    """Return the database that a URL names; raise StorageError for a URL that names none.

    `sqlite:///rollbook.db` is a file relative to the working directory, `sqlite:////srv/rollbook.db` an
    absolute one; `postgresql://user:password@host/name` is what libpq makes of it. `prepares` says whether
    statements may be prepared on a server's sessions, which a pooler of transactions may exchange;
    `only_reads` has the database stay as it is.
    """
    scheme, _, path = url.partition(":///")
    # Each engine's libraries are loaded where it is used, and nowhere else.
    if scheme == "sqlite" and path:
        from rollbook.storage.sqlite import SQLite  # noqa: PLC0415

        return Database(SQLite(Path(path)), only_reads=only_reads)
    if url.startswith(("postgresql://", "postgres://")):
        from rollbook.storage.postgresql import PostgreSQL  # noqa: PLC0415

        return Database(PostgreSQL(url, prepares=prepares), only_reads=only_reads)
    raise StorageError(
        f"The database URL, which begins with {scheme.partition(':')[0]!r}, is not understood. Set "
        "ROLLBOOK_DATABASE to sqlite:///<path>, for example sqlite:///rollbook.db, or to "
        "postgresql://<user>:<password>@<host>/<database>."
    )
