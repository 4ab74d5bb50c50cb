"""Proves that a power cut at any moment loses nothing that was answered, and that this test could see a loss."""

import contextlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from alembic import command
from durability.disks import Disk, DroppingVFS, begin_register, connect_alone
from sqlalchemy import create_engine

from rollbook.jsonapi.reading import Draft
from rollbook.jsonapi.resource import Record
from rollbook.register import checks, contacts, erasure, upkeep
from rollbook.register.callers import Caller
from rollbook.register.resource import Found
from rollbook.storage import migrations
from rollbook.storage.database import Database
from rollbook.storage.migrate import bring_up_to_date
from rollbook.storage.migrations.plain_connection import PlainConnection
from rollbook.storage.sqlite import SQLite, connect_with_driver
from rollbook.storage.tables import REVISIONS

pytestmark = pytest.mark.sqlite

pytestmark = pytest.mark.sqlite

CREATES = 500
# Few enough that the log is carried over several times within the test.
CHECKPOINT_PAGES = 300
SEED = 20261128
# Cuts at each moment of each kind of work, here and in a soak.
CUTS, OF_A_SOAK = 700, 7_000
OLD_CONTACTS = 40


class World:
    """A register on the dropping file system, and what it has acknowledged."""

    def __init__(self, folder: Path, synchronous: str = "FULL") -> None:
        self.path = folder / "rollbook.db"
        self.disk = Disk()
        key_id = begin_register(self.path)
        self.disk.load(self.path)
        self.vfs_name = f"dropping-{folder.name}"
        self.vfs = DroppingVFS(self.vfs_name, self.disk)
        self.database = Database(SQLite(self.path, connect=self.connect, synchronous=synchronous))
        self.caller = Caller(key_id, 1, frozenset({123}), frozenset(), 0)
        self.acknowledged: list[str] = []
        self.ids: list[int] = []

    def connect(self, path: Path) -> Any:
        return connect_alone(path, self.vfs_name)

    def checkpoint_often(self, pages: int = CHECKPOINT_PAGES) -> None:
        with self.database.transaction() as transaction:
            transaction._session.rows(f"PRAGMA wal_autocheckpoint = {pages}")

    def create(self, email: str | None = None) -> None:
        email = email or f"person.{len(self.acknowledged)}@example.test"
        draft = Draft({"site": "123"}, {"email": email, "subscribed": True}, None, ())
        with self.database.transaction() as transaction:
            (made,) = contacts.create_many(transaction, [contacts.prepare(self.caller, 123, draft)])
        assert isinstance(made, Record)
        self.acknowledged.append(email)
        self.ids.append(int(made.id))

    def erase(self) -> None:
        """Erase the oldest, as the server does: delete, rewrite the file, note that."""
        found = Found(self.caller, 123, self.ids.pop(0))
        with self.database.transaction() as transaction:
            assert erasure.erase_many(transaction, [found]) == [None]
        del self.acknowledged[0]
        self.database.scrub_now()
        with self.database.transaction() as transaction:
            erasure.finish_many(transaction, [[(123, found.id)]])

    def found_after_power_cut(self, folder: Path, surviving: random.Random | None = None) -> list[str]:
        """Return the e-mails in what is left, having checked that it is whole."""
        copy = folder / "after.db"
        self.disk.leave(self.path, copy, surviving)
        connection = look_into(copy)
        try:
            emails = [row[0] for row in connection.execute("SELECT email FROM contacts ORDER BY id")]
            events = connection.execute("SELECT count(*) FROM consent_events").fetchone()[0]
            noted = connection.execute("SELECT sum(contacts) FROM contact_counts").fetchone()[0] or 0
            assert (events, noted) == (len(emails), len(emails))
            if len(self.acknowledged) % 25 == 0:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        finally:
            connection.close()
        return emails


class Cuts:
    """Cuts the power after each write, truncation and sync, without and with some unsynced sectors."""

    def __init__(self, disk: Disk, look: Callable[[random.Random | None], None]) -> None:
        self.made = 0
        self._disk, self._look = disk, look
        self._chance = random.Random(SEED)
        disk.watch = self.cut
        print(f"seed: {SEED}")

    def cut(self) -> None:
        """Cut the power now, twice, and look at what is left."""
        for surviving in (None, self._chance):
            self.made += 1
            self._look(surviving)


@pytest.fixture
def wanted(request: pytest.FixtureRequest) -> int:
    """How many cuts there shall be."""
    return OF_A_SOAK if request.config.getoption("--soak") else CUTS


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


def test_a_power_cut_at_any_write_or_sync_of_creates_and_checkpoints_leaves_each_whole_or_not_at_all(
    tmp_path: Path, wanted: int
) -> None:
    world = World(tmp_path)
    world.checkpoint_often(40)
    in_flight = ""

    def look(surviving: random.Random | None) -> None:
        found = world.found_after_power_cut(tmp_path, surviving)
        assert found in (world.acknowledged, [*world.acknowledged, in_flight])

    cuts = Cuts(world.disk, look)
    while cuts.made < wanted:
        in_flight = f"person.{len(world.acknowledged)}@example.test"
        world.create()
    # What is said last empties the log.
    in_flight = ""
    before = cuts.made
    world.database.close()
    assert cuts.made > before
    print(f"{cuts.made} cuts, {len(world.acknowledged)} creates")


def test_a_power_cut_at_any_write_or_sync_of_an_erasure_leaves_it_whole_or_not_at_all(
    tmp_path: Path, wanted: int
) -> None:
    world = World(tmp_path)
    for number in range(3):
        world.create(f"person.{number}@example.test")
    allowed: list[list[str]] = []

    def look(surviving: random.Random | None) -> None:
        assert world.found_after_power_cut(tmp_path, surviving) in allowed

    cuts = Cuts(world.disk, look)
    erased = 0
    while cuts.made < wanted:
        allowed[:] = [list(world.acknowledged), world.acknowledged[1:]]
        world.erase()
        erased += 1
        allowed[:] = [list(world.acknowledged), [*world.acknowledged, f"later.{erased}@example.test"]]
        world.create(f"later.{erased}@example.test")
    world.disk.watch = lambda: None
    world.database.close()
    print(f"{cuts.made} cuts, {erased} erasures")


def test_a_power_cut_at_any_write_or_sync_of_a_migration_leaves_what_the_next_one_brings_to_its_end(
    tmp_path: Path, wanted: int
) -> None:
    old = tmp_path / "old.db"
    emails = fill_old_register(old)
    revisions = dict.fromkeys(("0001", REVISIONS[-1]), 0)
    made = rounds = 0
    while made < wanted:
        rounds += 1
        made += cut_migration(Path(shutil.copy(old, tmp_path / f"{rounds}.db")), emails, revisions)
    assert all(revisions.values())
    print(f"{made} cuts in {rounds} migrations; left at {revisions}")


def cut_migration(path: Path, emails: list[str], revisions: dict[str, int]) -> int:
    """Migrate a register with cuts at every write and sync; note what revisions are left, return how many."""
    copy = path.with_name("after.db")
    disk = Disk()
    disk.load(path)

    def look(surviving: random.Random | None) -> None:
        disk.leave(path, copy, surviving)
        revisions[look_at_migrated(copy, emails)] += 1
        if cuts.made % 100 == 0:
            # A migration cannot run within another.
            samples.append(path.with_name(f"sample-{len(samples)}.db"))
            disk.leave(path, samples[-1], surviving)

    samples: list[Path] = []
    cuts = Cuts(disk, look)
    name = f"migrating-{path}"
    vfs = DroppingVFS(name, disk)
    migrations.upgrade_sqlite(lambda file: connect_alone(file, name), path)
    vfs.unregister()
    disk.leave(path, copy, None)
    for left in (*samples, copy):
        finish_migration(left, emails)
    return cuts.made


def look_into(path: Path) -> Any:
    """Open what a cut left, which SQLite mends at the first look; that need not be on disk in its turn."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def look_at_migrated(path: Path, emails: list[str]) -> str:
    """Return the revision of a register, having checked that it has everybody."""
    connection = look_into(path)
    try:
        assert [row[0] for row in connection.execute("SELECT email FROM contacts ORDER BY id")] == emails
        ((revision,),) = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        return str(revision)
    finally:
        connection.close()


def finish_migration(path: Path, emails: list[str]) -> None:
    """Migrate what a cut left, as the next start does, and check that it is whole."""
    with contextlib.closing(Database(SQLite(path))) as database:
        bring_up_to_date(database)
        upkeep.finish(database)
        assert database.faults() == []
        with database.snapshot() as snapshot:
            assert list(checks.faults(snapshot)) == []
    assert look_at_migrated(path, emails) == REVISIONS[-1]


def fill_old_register(path: Path) -> list[str]:
    """Make a register of the first schema with contacts; return their e-mails."""
    Database(SQLite(path))._session().close()
    alchemy = create_engine("sqlite://", creator=lambda: PlainConnection(connect_with_driver(path)))
    with alchemy.begin() as connection:
        command.upgrade(migrations._config(connection), "0001")
    alchemy.dispose()
    moment = "2025-01-01T00:00:00.000Z"
    emails = [f"person.{number}@example.test" for number in range(OLD_CONTACTS)]
    with contextlib.closing(connect_with_driver(path)) as file:
        file.execute("BEGIN")
        file.execute("INSERT INTO sites VALUES (123, 'A site', 'a site', 'a-site', ?, ?)", (moment, moment))
        file.execute("INSERT INTO users VALUES (1, 'O', 'o@example.test', 'owner', ?)", (moment,))
        file.execute("INSERT INTO keys VALUES (1, 1, 'Key', 'c', 's', 1, '*', ?)", (moment,))
        for number, email in enumerate(emails, 1):
            file.execute(
                "INSERT INTO contacts (site_id, id, name, email, subscribed, custom, created_at, updated_at,"
                " name_key, email_key, phone_number) VALUES (123, ?, '', ?, 1, '{}', ?, ?, '', ?, '123')",
                (number, email, moment, moment, email),
            )
            file.execute(
                "INSERT INTO consent_events VALUES (123, ?, ?, 'subscribed', 'api', 1, ?)",
                (number, number, moment),
            )
        file.execute("INSERT INTO contact_counts VALUES (123, ?)", (len(emails),))
        file.execute("COMMIT")
    return emails
