"""Proves that a power cut after an answered create loses nothing, and that this test could see a loss."""

import random
from pathlib import Path
from typing import Any

import apsw
import pytest
from pysqlite3 import dbapi2 as driver

from rollbook.jsonapi.reading import Draft
from rollbook.jsonapi.resource import Record
from rollbook.register import beginnings, contacts
from rollbook.register.callers import Caller
from rollbook.storage.database import Database
from rollbook.storage.migrate import bring_up_to_date
from rollbook.storage.sqlite import SQLite

pytestmark = pytest.mark.sqlite

CREATES = 500
SECTOR = 512
# Few enough that the log is carried over several times within the test.
CHECKPOINT_PAGES = 300


class Disk:
    """What each file would hold after a power cut, and what was written but not yet synced."""

    def __init__(self) -> None:
        self.synced: dict[str, bytearray] = {}
        self.pending: dict[str, list[tuple[int, bytes]]] = {}
        self.syncs = 0

    def load(self, path: Path) -> None:
        self.synced[str(path)] = bytearray(path.read_bytes())

    def write(self, path: str, offset: int, data: bytes) -> None:
        self.pending.setdefault(path, []).append((offset, data))

    def sync(self, path: str) -> None:
        self.syncs += 1
        _apply(self.synced.setdefault(path, bytearray()), self.pending.pop(path, []))

    def after_power_cut(self, path: str, surviving: random.Random | None) -> bytes:
        """Return a file as the cut leaves it; `surviving` picks unsynced sectors that made it."""
        image = bytearray(self.synced.get(path, b""))
        if surviving is not None:
            sectors = [
                (offset + start, data[start : start + SECTOR])
                for offset, data in self.pending.get(path, [])
                for start in range(0, len(data), SECTOR)
            ]
            _apply(image, [sector for sector in sectors if surviving.random() < 0.5])
        return bytes(image)


def _apply(image: bytearray, writes: list[tuple[int, bytes]]) -> None:
    for offset, data in writes:
        if len(image) < offset + len(data):
            image.extend(bytes(offset + len(data) - len(image)))
        image[offset : offset + len(data)] = data


class DroppingFile(apsw.VFSFile):
    """A file whose writes reach the disk of the test only when they are synced."""

    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self.disk = disk
        self.path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)

    def xWrite(self, data: bytes, offset: int) -> None:
        self.disk.write(self.path, offset, bytes(data))
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self.disk.sync(self.path)


class DroppingVFS(apsw.VFS):
    """A file system that forgets at a power cut what was not synced."""

    def __init__(self, name: str, disk: Disk) -> None:
        self.disk = disk
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return DroppingFile(self.disk, name, flags)


class World:
    """A register on the dropping file system, and what it has acknowledged."""

    def __init__(self, folder: Path, synchronous: str) -> None:
        self.path = folder / "rollbook.db"
        self.disk = Disk()
        with_driver = Database(SQLite(self.path))
        bring_up_to_date(with_driver)
        with with_driver.transaction() as transaction:
            beginning = beginnings.begin(transaction, owner_name="O", owner_email="o@example.test")
        assert beginning is not None
        with_driver.close()
        self.disk.load(self.path)
        self.vfs_name = f"dropping-{folder.name}"
        self.vfs = DroppingVFS(self.vfs_name, self.disk)
        self.database = Database(SQLite(self.path, connect=self.connect, synchronous=synchronous))
        self.caller = Caller(beginning.key.id, 1, frozenset({123}), frozenset(), 0)
        self.acknowledged: list[str] = []

    def connect(self, path: Path) -> Any:
        connection = apsw.Connection(str(path), vfs=self.vfs_name)
        # Files made in Python have no shared memory; one connection alone needs none.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        return connection

    def checkpoint_often(self) -> None:
        with self.database.transaction() as transaction:
            transaction._session.rows(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")

    def create(self) -> None:
        email = f"person.{len(self.acknowledged)}@example.test"
        draft = Draft({"site": "123"}, {"email": email, "subscribed": True}, None, ())
        with self.database.transaction() as transaction:
            (made,) = contacts.create_many(transaction, [contacts.prepare(self.caller, 123, draft)])
        assert isinstance(made, Record)
        self.acknowledged.append(email)

    def found_after_power_cut(self, folder: Path, surviving: random.Random | None = None) -> list[str]:
        """Return the e-mails in what is left, having checked that it is whole."""
        copy = folder / "after.db"
        for suffix in ("", "-wal"):
            copy.with_name(copy.name + suffix).write_bytes(
                self.disk.after_power_cut(str(self.path) + suffix, surviving)
            )
        copy.with_name(copy.name + "-shm").unlink(missing_ok=True)
        connection = driver.connect(str(copy))
        try:
            emails = [row[0] for row in connection.execute("SELECT email FROM contacts ORDER BY id")]
            events = connection.execute("SELECT count(*) FROM consent_events").fetchone()[0]
            noted = connection.execute("SELECT contacts FROM contact_counts").fetchone()[0]
            assert (events, noted) == (len(emails), len(emails))
            if len(self.acknowledged) % 25 == 0:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        finally:
            connection.close()
        return emails


@pytest.mark.parametrize(
    "seed", [None, 20261123, 7], ids=["all-unsynced-lost", "some-survive", "others-survive"]
)
def test_a_power_cut_after_any_acknowledged_create_loses_none(tmp_path: Path, seed: int | None) -> None:
    print(f"seed: {seed}")
    surviving = None if seed is None else random.Random(seed)
    world = World(tmp_path, "FULL")
    world.checkpoint_often()
    for _ in range(CREATES):
        world.create()
        assert world.found_after_power_cut(tmp_path, surviving) == world.acknowledged
    assert world.disk.syncs > CREATES
    world.database.close()


def test_the_same_cut_loses_creates_when_commits_are_not_synced(tmp_path: Path) -> None:
    world = World(tmp_path, "NORMAL")
    world.checkpoint_often()
    lost = 0
    for _ in range(CREATES):
        world.create()
        lost += len(world.acknowledged) - len(world.found_after_power_cut(tmp_path))
    assert lost > CREATES
    world.database.close()
