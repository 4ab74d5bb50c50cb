"""Proves that a disk which fails or is full at any call, and a lock that others hold, are answered truthfully."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from durability.disks import FailingVFS, Failures, begin_register, connect_alone

from rollbook.jsonapi.reading import Draft
from rollbook.jsonapi.resource import Record
from rollbook.register import checks, contacts, erasure, upkeep
from rollbook.register.callers import Caller
from rollbook.register.resource import Found
from rollbook.storage.database import Database
from rollbook.storage.engines import explaining
from rollbook.storage.faults import Unavailable
from rollbook.storage.sqlite import SQLite
from support import Reply, RunningServer, readable, run_rollbook, wait_until

pytestmark = pytest.mark.sqlite

SITE = 123
# A call of a longer work fails once in so many, but for a soak; the first twenty always do.
STRIDE = 7
FIRST = 20


class World:
    """A register on the failing file system, and what it must hold: the name of each contact by id."""

    def __init__(self, folder: Path, checkpoint_pages: int = 1_000) -> None:
        self.path = folder / "rollbook.db"
        key_id = begin_register(self.path)
        self.failures = Failures()
        self._vfs_name = f"failing-{folder}"
        self._vfs = FailingVFS(self._vfs_name, self.failures)
        self._connection: apsw.Connection | None = None
        self._checkpoint_pages = checkpoint_pages
        self.database = Database(SQLite(self.path, connect=self._connect))
        self.caller = Caller(key_id, 1, frozenset({SITE}), frozenset(), 0)
        self.names: dict[int, str] = {}
        self._made = 0
        self.database.revision()
        assert self._connection is not None
        self._connection.set_wal_hook(self._after_commit)

    def _connect(self, path: Path) -> Any:
        self._connection = connect_alone(path, self._vfs_name)
        return self._connection

    def _after_commit(self, connection: apsw.Connection, name: str, pages: int) -> int:
        """Do what SQLite does after a commit: its own way would have the driver raise what SQLite ignores."""
        if pages >= self._checkpoint_pages:
            try:
                connection.wal_checkpoint(name)
            except apsw.Error:
                return apsw.SQLITE_OK
        return apsw.SQLITE_OK

    def create(self) -> None:
        """Create a contact."""
        self._made += 1
        name = f"Person {self._made}"
        given: dict[str, str | bool | None] = {
            "email": f"{self._made}@example.test",
            "name": name,
            "subscribed": True,
        }
        new = contacts.prepare(self.caller, SITE, Draft({"site": str(SITE)}, given, None, ()))
        with self.database.transaction() as transaction:
            (made,) = contacts.create_many(transaction, [new])
        assert isinstance(made, Record)
        self.names[int(made.id)] = name

    def change(self) -> None:
        """Change the name and the consent of the oldest contact."""
        contact_id = min(self.names)
        name = self.names[contact_id] + "+"
        draft = Draft({}, {"name": name, "subscribed": len(name) % 2 == 0}, None, ())
        change = contacts.prepare_change(Found(self.caller, SITE, contact_id), draft)
        with self.database.transaction() as transaction:
            (made,) = contacts.change_many(transaction, [change])
        assert isinstance(made, Record)
        self.names[contact_id] = name

    def erase(self) -> None:
        """Erase the oldest contact, or finish what was begun: delete, rewrite the file, note that."""
        found = Found(self.caller, SITE, min(self.names))
        with self.database.transaction() as transaction:
            assert erasure.erase_many(transaction, [found]) == [None]
        del self.names[found.id]
        upkeep.finish(self.database)

    def index(self) -> None:
        """Do what is owed to the search index."""
        with self.database.transaction() as transaction:
            upkeep.index_some(transaction)

    def checkpoint(self) -> None:
        """Carry all of the log over."""
        with explaining(self.database.engine):
            self.database._session().rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def assert_holds(self) -> None:
        """Assert that what was answered is there, and nothing else."""
        with self.database.snapshot() as snapshot:
            rows = snapshot._session.rows(
                "SELECT id, name, (SELECT count(*) FROM consent_events e WHERE e.contact_id = c.id) > 0,"
                " (SELECT count(*) FROM audit_events a WHERE a.resource_id = c.id) > 0 FROM contacts c"
            )
            (noted,) = snapshot._session.rows("SELECT sum(contacts) FROM contact_counts")[0]
        assert {row[0]: row[1:] for row in rows} == {key: (name, 1, 1) for key, name in self.names.items()}
        assert noted == len(self.names)

    def assert_whole(self) -> None:
        """Assert that the file is whole, and holds what was answered."""
        self.assert_holds()
        assert self.database.faults() == []
        with self.database.snapshot() as snapshot:
            assert list(checks.faults(snapshot)) == []


Work = Callable[[World], None]
WORKS: dict[str, tuple[Work, int]] = {
    "creates": (World.create, 1_000),
    # The log is carried over after each commit.
    "creates with a checkpoint each": (World.create, 1),
    "changes": (World.change, 1_000),
    "erasures": (World.erase, 1_000),
    "the search index": (World.index, 1_000),
    "checkpoints": (World.checkpoint, 1_000),
}


@pytest.mark.parametrize("full", [False, True], ids=["broken", "full"])
@pytest.mark.parametrize("name", WORKS)
def test_a_disk_that_fails_at_any_call_leaves_each_write_whole_or_not_at_all_and_the_next_one_works(
    tmp_path: Path, request: pytest.FixtureRequest, name: str, full: bool
) -> None:
    work, checkpoint_pages = WORKS[name]
    stride = 1 if request.config.getoption("--soak") else STRIDE
    world = World(tmp_path, checkpoint_pages)
    for _ in range(3):
        world.create()
    answers = {"done": 0, "unavailable": 0}
    at = 0
    while True:
        at += 1 if at < FIRST else stride
        world.create()
        if name == "erasures":
            world.create()
        world.failures.arm(at, full=full)
        try:
            work(world)
            answers["done"] += 1
        except Unavailable:
            answers["unavailable"] += 1
        calls = world.failures.disarm()
        world.assert_holds()
        work(world)
        world.assert_holds()
        if at % 10 == 0:
            world.assert_whole()
        if calls < at:
            break
    world.assert_whole()
    world.database.close()
    print(f"{name}: {world.failures.failed} calls failed, the last work had {calls} calls, {answers}")
    assert answers["unavailable"]


def test_a_start_on_a_full_disk_puts_off_what_it_need_not_do_and_the_next_one_does_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.database.engine.lock_for_server()
    world.database.engine.note_kept_whole()
    world.database.engine.close()
    world.database.engine.lock_for_server()
    for _ in range(3):
        world.create()
    found = Found(world.caller, SITE, min(world.names))
    with world.database.transaction() as transaction:
        assert erasure.erase_many(transaction, [found]) == [None]
    del world.names[found.id]
    told: list[Unavailable] = []
    world.failures.arm(1, full=True)
    upkeep.prepare_to_serve(world.database, False, told.append)
    world.failures.disarm()
    assert len(told) == 1
    assert upkeep.owed(world.database) == 2
    upkeep.finish(world.database)
    assert upkeep.owed(world.database) == 0
    with world.database.snapshot() as snapshot:
        assert erasure.unfinished(snapshot) == []
    world.assert_whole()
    world.database.close()


HOLDER = (
    "import sys, apsw; "
    "file = apsw.Connection(sys.argv[1]); file.execute('BEGIN IMMEDIATE'); "
    "file.execute('UPDATE sites SET title = 1'); print('held', flush=True); sys.stdin.read()"
)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_lock_that_another_process_holds_is_answered_503_and_its_end_suffices(
    serve: Callable[..., RunningServer], how: signal.Signals
) -> None:
    server = serve()
    site = server.new_site()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, server.database], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin
    assert holder.stdout
    assert readable(holder.stdout, 30)
    replies: dict[str, Reply] = {}

    def create(email: str) -> None:
        replies[email] = server.client(site.token).post("/v1/contacts", site.document(email=email))

    threads = [threading.Thread(target=create, args=(f"{number}@example.test",)) for number in range(32)]
    for thread in threads:
        thread.start()
    wait_until(lambda: replies, 20)
    assert site.client.get("/readyz").status == 200
    holder.send_signal(how)
    holder.wait(30)
    holder.stdin.close()
    holder.stdout.close()
    for thread in threads:
        thread.join(60)
    refused = {email for email, reply in replies.items() if reply.status == 503}
    assert refused
    assert {replies[email].headers["retry-after"] for email in refused} == {"1"}
    assert {reply.status for reply in replies.values()} <= {201, 503}
    assert site.create(email="after@example.test").status == 201
    listed = site.client.get("/v1/contacts?page[size]=100").json["data"]
    expected = replies.keys() - refused | {"after@example.test"}
    assert sorted(each["attributes"]["email"] for each in listed) == sorted(expected)
    check = run_rollbook("db", "check", ROLLBOOK_DATABASE=server.database_url)
    assert check.returncode == 0, check.stdout
