"""Proves what a start does with work that was left and that the database cannot do now."""

from pathlib import Path

import pytest
from register.house import caller, create, new, page, stored

from databases import on_postgresql, writes_held
from rollbook.register import erasure, upkeep
from rollbook.register.resource import Found
from rollbook.storage import postgresql
from rollbook.storage.database import Database
from rollbook.storage.faults import Unavailable

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


def test_what_cannot_be_done_now_is_put_off_and_done_the_next_time(left: Database) -> None:
    told: list[tuple[str, Unavailable]] = []
    with writes_held(left.engine.name):
        upkeep.finish(left, lambda *of: told.append(of))
        assert [work for work, _ in told] == ["search index", "erasures"]
        assert all("cannot be used now" in str(error) for _, error in told)
        assert unfinished(left) == (1, 1)
        assert len(page(left, ANA)[0].records) == 1
    told.clear()
    upkeep.finish(left, lambda *of: told.append(of))
    assert (told, unfinished(left)) == ([], (0, 0))


def test_what_nobody_hears_of_is_raised(left: Database) -> None:
    with writes_held(left.engine.name), pytest.raises(Unavailable):
        upkeep.finish(left)


@pytest.mark.sqlite
def test_the_index_of_what_an_older_program_may_have_left_is_not_put_off(
    left: Database, tmp_path: Path
) -> None:
    left.close()
    (tmp_path / "rollbook.db.lock").unlink()
    left.engine.lock_for_server()
    left._session().rows("PRAGMA busy_timeout = 10")
    with writes_held(left.engine.name), pytest.raises(Unavailable):
        upkeep.finish(left, lambda *_: None)
