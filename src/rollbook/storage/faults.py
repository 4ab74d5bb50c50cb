"""What can go wrong with a database, in words that a person can act on."""


class StorageError(Exception):
    """The database cannot be used as asked; the message says what happened and what to do."""


class Unavailable(StorageError):
    """The database cannot answer now, yet may soon: it is locked, full, away or busy."""


class SchemaMismatch(StorageError):
    """The schema of the database is not the one that this program needs."""


class UnfinishedCopy(StorageError):
    """The database is a copy of another that is not complete yet."""
