"""Brings a database to the schema of this program, where it is not there yet."""

from rollbook.storage.database import Database
from rollbook.storage.tables import REVISIONS


def bring_up_to_date(database: Database) -> None:
    """Create or migrate the schema where needed; raise StorageError where that cannot be done."""
    if database.revision() == REVISIONS[-1]:
        return
    try:
        database.engine.upgrade()
    except Exception as error:
        cause = getattr(error, "orig", None) or error
        raise database.engine.explained(cause) from error
