"""File systems for SQLite: one that forgets at a power cut what was not synced, and one that fails when told."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from rollbook.register import beginnings
from rollbook.storage.database import Database
from rollbook.storage.migrate import bring_up_to_date
from rollbook.storage.sqlite import SQLite

SECTOR = 512
# What is done with a file that a power cut can undo: an offset with bytes, or a new size.
Pending = tuple[int, bytes] | int


class Disk:
    """What each file would hold after a power cut, and what was done to it but not yet synced.

    `watch` is called after each write, truncation and sync: at each of them the power may be cut. A deletion
    is at once on disk; SQLite deletes a log only when all of it is elsewhere.
    """

    def __init__(self) -> None:
        self.synced: dict[str, bytearray] = {}
        self.pending: dict[str, list[Pending]] = {}
        self.syncs = 0
        self.watch: Callable[[], None] = lambda: None

    def load(self, path: Path) -> None:
        self.synced[str(path)] = bytearray(path.read_bytes())

    def write(self, path: str, offset: int, data: bytes) -> None:
        self.pending.setdefault(path, []).append((offset, data))
        self.watch()

    def truncate(self, path: str, size: int) -> None:
        self.pending.setdefault(path, []).append(size)
        self.watch()

    def sync(self, path: str) -> None:
        self.syncs += 1
        _apply(self.synced.setdefault(path, bytearray()), self.pending.pop(path, []))
        self.watch()

    def delete(self, path: str) -> None:
        self.synced.pop(path, None)
        self.pending.pop(path, None)
        self.watch()

    def after_power_cut(self, path: str, surviving: random.Random | None) -> bytes:
        """Return a file as the cut leaves it; `surviving` picks unsynced sectors that made it."""
        image = bytearray(self.synced.get(path, b""))
        if surviving is not None:
            made_it = [each for each in _sectors(self.pending.get(path, [])) if surviving.random() < 0.5]
            _apply(image, made_it)
        return bytes(image)

    def leave(self, path: Path, copy: Path, surviving: random.Random | None) -> None:
        """Write a database and its log as a cut leaves them."""
        for suffix in ("", "-wal"):
            left = self.after_power_cut(str(path) + suffix, surviving)
            copy.with_name(copy.name + suffix).write_bytes(left)
        copy.with_name(copy.name + "-shm").unlink(missing_ok=True)


def _sectors(pending: list[Pending]) -> list[Pending]:
    found: list[Pending] = []
    for each in pending:
        if isinstance(each, int):
            found.append(each)
        else:
            offset, data = each
            starts = range(0, len(data), SECTOR)
            found += [(offset + start, data[start : start + SECTOR]) for start in starts]
    return found


def _apply(image: bytearray, done: list[Pending]) -> None:
    for each in done:
        if isinstance(each, int):
            del image[each:]
            continue
        offset, data = each
        if len(image) < offset + len(data):
            image.extend(bytes(offset + len(data) - len(image)))
        image[offset : offset + len(data)] = data


class DroppingFile(apsw.VFSFile):
    """A file whose writes reach the disk of the test only when they are synced; this machine's need not be."""

    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self.disk = disk
        self.path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self.disk.write(self.path, offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        self.disk.truncate(self.path, newsize)

    def xSync(self, flags: int) -> None:
        self.disk.sync(self.path)


class DroppingVFS(apsw.VFS):
    """A file system that forgets at a power cut what was not synced."""

    def __init__(self, name: str, disk: Disk) -> None:
        self.disk = disk
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return DroppingFile(self.disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self.disk.delete(filename)


class Failures:
    """Which call of a file system fails: the one with a number from `arm` on, and the writes after it or not.

    A failing call answers as a disk without room does, or as a broken one.
    """

    def __init__(self) -> None:
        self.calls = self.failed = 0
        self._at: int | None = None
        self._is_full = False

    def arm(self, at: int, *, full: bool) -> None:
        """Have the call with this number fail; where the disk is full, all that write from then on."""
        self.calls, self._at, self._is_full = 0, at, full

    def disarm(self) -> int:
        """Let all calls succeed; return how many there were since `arm`."""
        self._at = None
        return self.calls

    def judge(self, code: int, *, grows: bool = False) -> None:
        """Count a call, and raise what it shall fail with: a full disk only stops what grows."""
        self.calls += 1
        if self._at is None or self.calls < self._at:
            return
        if self._is_full:
            if grows:
                self.failed += 1
                raise apsw.exception_for(apsw.SQLITE_FULL)
        elif self.calls == self._at:
            self.failed += 1
            raise apsw.exception_for(code)


class FailingFile(apsw.VFSFile):
    """A file whose calls fail when they are told to."""

    def excepthook(self, etype: Any, evalue: Any, etraceback: Any) -> bool:
        """Say nothing of a failure that SQLite has no way to report, or is about to report anyway."""
        return True

    def __init__(self, failures: Failures, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self.failures = failures

    def xRead(self, amount: int, offset: int) -> bytes:
        self.failures.judge(apsw.SQLITE_IOERR_READ)
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        self.failures.judge(apsw.SQLITE_IOERR_WRITE, grows=True)
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        self.failures.judge(apsw.SQLITE_IOERR_TRUNCATE)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        self.failures.judge(apsw.SQLITE_IOERR_FSYNC)
        super().xSync(flags)


class FailingVFS(apsw.VFS):
    """A file system whose calls fail when they are told to."""

    def __init__(self, name: str, failures: Failures) -> None:
        self.failures = failures
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return FailingFile(self.failures, name, flags)


def begin_register(path: Path) -> int:
    """Make a register in a file, on a disk that does what it is told; return the id of its first key."""
    database = Database(SQLite(path))
    bring_up_to_date(database)
    with database.transaction() as transaction:
        beginning = beginnings.begin(transaction, owner_name="O", owner_email="o@example.test")
    assert beginning is not None
    database.close()
    return beginning.key.id


def connect_alone(path: Path, vfs_name: str) -> apsw.Connection:
    """Open a file on a file system that is made in Python: it has no shared memory, and one alone needs none."""
    connection = apsw.Connection(str(path), vfs=vfs_name)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    return connection
