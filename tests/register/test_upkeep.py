"""Proves what a start does with work that was left and that the database cannot do now."""

import asyncio
import threading
from pathlib import Path

import pytest
from register.house import caller, create, new, page, stored

from databases import on_postgresql, writes_held
from rollbook.register import erasure, upkeep
from rollbook.register.resource import Found
from rollbook.storage import postgresql
from rollbook.storage.database import Database
from rollbook.storage.faults import Unavailable
from rollbook.storage.opening import open_database
from rollbook.storage.transactions import Snapshot, Transaction
from support import wait_until

ANA = "filter[name_contains]=ana"


@pytest.fixture
def left(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A register that was served as this program does, with one to be indexed and one to be scrubbed; it does
    not wait long for others.
    """
    database.engine.lock_for_server()
    database.engine.note_kept_whole()
    gone, _ = create(database, new(name="Bert", email="b@x.test"), new(name="Ana", email="a@x.test"))
    with database.transaction() as transaction:
        erasure.erase_many(transaction, [Found(caller(), 1, stored(gone).id)])
    database.close()
    monkeypatch.setattr(postgresql, "LIMITS", (("lock_timeout", 50), ("statement_timeout", 5_000)))
    monkeypatch.setattr(postgresql, "PATIENCE_SECONDS", 0.1)
    database.engine.lock_for_server()
    if not on_postgresql():
        database._session().rows("PRAGMA busy_timeout = 10")
    return database


def unfinished(database: Database) -> tuple[int, int]:
    """Return how many are to be indexed, and how many to be scrubbed."""
    owed = upkeep.owed(database)
    with database.snapshot() as snapshot:
        return owed, len(erasure.unfinished(snapshot))


def test_an_erasure_that_cannot_be_finished_now_is_put_off_and_finished_the_next_time(left: Database) -> None:
    told: list[Unavailable] = []
    with writes_held(left.engine.name):
        upkeep.prepare_to_serve(left, False, told.append)
        assert ["cannot be used now" in str(error) for error in told] == [True]
        assert unfinished(left) == (1, 1)
    told.clear()
    upkeep.prepare_to_serve(left, False, told.append)
    assert (told, unfinished(left)) == ([], (1, 0))


def test_what_is_finished_by_a_command_is_not_put_off(left: Database) -> None:
    with writes_held(left.engine.name), pytest.raises(Unavailable):
        upkeep.finish(left)
    upkeep.finish(left)
    assert unfinished(left) == (0, 0)


def test_what_this_program_has_left_to_be_indexed_is_found_and_indexed_while_the_server_runs(
    left: Database,
) -> None:
    upkeep.prepare_to_serve(left, False, lambda *_: None)
    assert unfinished(left) == (1, 0)
    assert len(page(left, ANA)[0].records) == 1

    async def serve() -> None:
        left.start(100, upkeep.UPKEEP)
        other = open_database(left.engine.name)
        await asyncio.to_thread(wait_until, lambda: upkeep.owed(other) == 0, 20)
        other.close()
        await left.stop()

    asyncio.run(serve())
    assert len(page(left, ANA)[0].records) == 1


@pytest.mark.sqlite
def test_a_search_is_not_done_on_the_loop_while_something_is_owed_from_before(left: Database) -> None:
    held = threading.Event()

    def index_some(_transaction: Transaction) -> int:
        held.wait(20)
        return 0

    def look(snapshot: Snapshot, _none: None) -> str:
        assert not snapshot.is_hurried
        return threading.current_thread().name

    async def serve() -> str:
        left.start(100, upkeep.UPKEEP._replace(do_some=index_some))
        found = await left.glance_or_read(look, None)
        held.set()
        await left.stop()
        return found

    assert asyncio.run(serve()).startswith("reader")


@pytest.mark.sqlite
def test_what_an_older_program_may_have_left_is_indexed_before_the_server_begins(
    left: Database, tmp_path: Path
) -> None:
    left.close()
    (tmp_path / "rollbook.db.lock").unlink()
    left.engine.lock_for_server()
    left._session().rows("PRAGMA busy_timeout = 10")
    with writes_held(left.engine.name), pytest.raises(Unavailable):
        upkeep.prepare_to_serve(left, False, lambda *_: None)
    upkeep.prepare_to_serve(left, False, lambda *_: None)
    assert unfinished(left) == (0, 0)


def test_what_is_found_by_a_migration_is_indexed_before_the_server_begins(left: Database) -> None:
    upkeep.prepare_to_serve(left, True, lambda *_: None)
    assert unfinished(left) == (0, 0)
