"""The lock that one server holds on a file; it also says what the last one kept."""

import fcntl
import os
from pathlib import Path

from rollbook.storage.faults import StorageError
from rollbook.storage.tables import REVISIONS


class ServerLock:
    """A file beside the database: the process that holds it, and up to which schema all is kept.

    The operating system drops the lock with the process, however that ends.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(database.name + ".lock")
        self._file: int | None = None
        self.was_kept_whole = False

    def take(self) -> None:
        """Take the lock; raise StorageError where another server has it, or where it cannot be noted."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StorageError(
                f"The lock file {self._path} cannot be opened ({error.strerror}). The server needs to "
                "write in the folder of its database."
            ) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = next(iter(_words(file)), "unknown")
            os.close(file)
            raise StorageError(
                f"Another Rollbook server (process {holder}) serves {self._database} already. "
                "Stop it, or choose another file with ROLLBOOK_DATABASE."
            ) from None
        self._file = file
        kept = _words(file)[1:]
        self.was_kept_whole = kept == [REVISIONS[-1]]
        try:
            self._write(*kept)
        except StorageError:
            self.release()
            raise

    def note_kept_whole(self) -> None:
        """Note, for the next server, that all is kept that this program keeps."""
        self._write(REVISIONS[-1])

    def release(self) -> None:
        """Let go of the lock, where it was taken."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, *kept: str) -> None:
        if self._file is None:
            return
        note = " ".join((str(os.getpid()), *kept)).encode("ascii", "replace")
        try:
            # In this order, for where there is no room for the new note, the one before stays.
            os.pwrite(self._file, note, 0)
            os.ftruncate(self._file, len(note))
        except OSError as error:
            raise StorageError(
                f"The lock file {self._path} cannot be written ({error.strerror}). Make room on the disk of "
                "the database, and try again."
            ) from None


def _words(file: int) -> list[str]:
    return os.pread(file, 64, 0).decode("ascii", "replace").split()
