"""Brings a database to the schema of this program, where it is not there yet; or says that it is not."""

from rollbook.storage.database import Database
from rollbook.storage.faults import SchemaMismatch, StorageError
from rollbook.storage.tables import REVISIONS


def bring_up_to_date(database: Database) -> bool:
    """Create or migrate the schema where needed, and say whether it was; raise StorageError where that cannot
    be done.
    """
    if database.revision() == REVISIONS[-1]:
        return False
    try:
        database.engine.upgrade()
    except Exception as error:
        cause = getattr(error, "orig", None) or error
        raise database.engine.explained(cause) from error
    return True


def require_up_to_date(database: Database) -> None:
    """Raise StorageError where there is no register, or one with an older schema; change nothing."""
    name = database.engine.name
    revision = database.revision() if database.engine.is_there() else None
    if revision is None:
        raise StorageError(
            f"There is no register in {name}. Set ROLLBOOK_DATABASE to the one that you mean, or make one "
            "there with `rollbook serve`."
        )
    if revision != REVISIONS[-1]:
        raise SchemaMismatch(
            f"The schema of {name} is {revision}, but this program needs {REVISIONS[-1]}. Run "
            "`rollbook db upgrade` first, which changes it; or use the Rollbook that made it."
        )
