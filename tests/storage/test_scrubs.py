"""Proves what those who ask for a scrub at one moment are told, how often it is done, and who waits for it."""

import asyncio
from pathlib import Path
from typing import Any

import apsw
import pytest
from storage.leases import add_kinds, kinds_of, served

from rollbook.storage.database import Database
from rollbook.storage.engines import Session
from rollbook.storage.faults import Unavailable


@pytest.fixture
def scrubs(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """As many as there were scrubs of the database, each of which is done."""
    done: list[None] = []
    scrub = database.engine.scrub

    def count(session: Session) -> None:
        done.append(None)
        scrub(session)

    monkeypatch.setattr(database.engine, "scrub", count)
    return done


def test_scrubs_that_wait_together_are_one(database: Database, scrubs: list[None]) -> None:
    async def work() -> list[None]:
        return await asyncio.gather(*(database.scrub() for _ in range(20)))

    assert served(database, work) == [None] * 20
    assert len(scrubs) == 1


async def outcomes_of_a_group(database: Database) -> list[Any]:
    """Return what is told to writes and scrubs that wait together."""
    asked = [
        database.write(add_kinds, "x-1"),
        database.scrub(),
        database.write(add_kinds, "refused"),
        database.write(add_kinds, "x-2"),
        database.scrub(),
        database.write(add_kinds, "breaks"),
        database.scrub(),
    ]
    return await asyncio.gather(*asked, return_exceptions=True)


def test_each_who_waits_with_a_scrub_is_told_its_own_outcome(database: Database, scrubs: list[None]) -> None:
    outcomes = served(database, lambda: outcomes_of_a_group(database))
    assert list(map(str, outcomes)) == ["x-1", "None", "refused", "x-2", "None", "broken", "None"]
    assert len(scrubs) == 1
    with database.snapshot() as snapshot:
        assert kinds_of(snapshot, "x-") == ["x-1", "x-2"]


@pytest.mark.sqlite
def test_a_scrub_that_fails_is_told_to_each_who_asked_for_it_and_takes_no_write_with_it(
    database: Database, tmp_path: Path
) -> None:
    database._session().rows("PRAGMA busy_timeout = 10")
    reader = apsw.Connection(str(tmp_path / "rollbook.db"))
    reader.execute("BEGIN; SELECT count(*) FROM id_leases").fetchall()
    outcomes = served(database, lambda: outcomes_of_a_group(database))
    reader.close()
    failed = [outcomes[at] for at in (1, 4, 6)]
    assert [type(each) for each in failed] == [Unavailable] * 3
    assert list(map(str, (outcomes[at] for at in (0, 2, 3, 5)))) == ["x-1", "refused", "x-2", "broken"]
    with database.snapshot() as snapshot:
        assert kinds_of(snapshot, "x-") == ["x-1", "x-2"]
