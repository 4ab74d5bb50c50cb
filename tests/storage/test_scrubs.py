"""Proves what those who ask for a scrub at one moment are told, how often it is done, and who waits for it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from storage.leases import add_kinds, kinds_of, served

from databases import Beside, beside
from rollbook.storage import postgresql
from rollbook.storage.database import Database
from rollbook.storage.engines import Session
from rollbook.storage.faults import Unavailable
from support import wait_until


@pytest.fixture
def scrubs(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """As many as there were scrubs of the database, each of which is done."""
    done: list[None] = []
    scrub = database.engine.scrub

    def count(session: Session, **how: bool) -> None:
        done.append(None)
        scrub(session, **how)

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


HELD = "LOCK TABLE contact_notes IN SHARE UPDATE EXCLUSIVE MODE"
WAITING = "SELECT {} FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'VACUUM%'" + (
    " AND datname = current_database()"
)


class Holder:
    """Another session, which keeps the database from being scrubbed as a VACUUM of its own would."""

    def __init__(self, connection: Beside, watch: Beside) -> None:
        self._connection = connection
        self._watch = watch
        connection.rows("BEGIN")
        connection.rows(HELD)

    async def is_waited_for(self, milliseconds: int = 0) -> None:
        """Return once a scrub has waited so long."""
        age = f"now() - query_start > interval '{milliseconds} ms'"
        await asyncio.to_thread(wait_until, lambda: self._watch.rows(WAITING.format(age)) == [(True,)], 20)

    def let_go(self) -> None:
        """Let others scrub."""
        self._connection.rows("ROLLBACK")


@pytest.fixture
def holder(database: Database) -> Iterator[Holder]:
    """One who keeps the database from being scrubbed, until it lets go."""
    with beside(database.engine.name) as connection, beside(database.engine.name) as watch:
        yield Holder(connection, watch)


@pytest.mark.postgresql
def test_writes_and_reads_go_on_beside_a_scrub(database: Database, holder: Holder) -> None:
    async def work() -> Any:
        scrubbed = asyncio.ensure_future(database.scrub())
        await holder.is_waited_for()
        await database.write(add_kinds, "x-1")
        await database.write(add_kinds, "x-2", is_short=True)
        found = await database.read(kinds_of, "x-")
        was_waiting = not scrubbed.done()
        holder.let_go()
        await scrubbed
        return found, was_waiting

    assert served(database, work) == (["x-1", "x-2"], True)


@pytest.mark.postgresql
def test_a_scrub_waits_for_another_longer_than_a_transaction_waits_for_a_lock(
    database: Database, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "LIMITS", (("lock_timeout", 50), ("statement_timeout", 200)))

    async def work() -> None:
        scrubbed = asyncio.ensure_future(database.scrub())
        try:
            await holder.is_waited_for(400)
        finally:
            holder.let_go()
        await scrubbed

    served(database, work)


@pytest.mark.postgresql
def test_a_scrub_that_waits_too_long_for_another_is_unavailable_and_the_next_is_done(
    database: Database, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "LONGEST_WAIT_TO_VACUUM", 50)

    async def work() -> None:
        outcomes = await asyncio.gather(database.scrub(), database.scrub(), return_exceptions=True)
        assert [type(each) for each in outcomes] == [Unavailable] * 2
        holder.let_go()
        await database.scrub()

    served(database, work)


@pytest.mark.postgresql
def test_who_asks_beside_a_scrub_shares_the_next_and_who_goes_away_takes_it_from_nobody(
    database: Database, holder: Holder, scrubs: list[None]
) -> None:
    async def work() -> Any:
        first = [asyncio.ensure_future(database.scrub()) for _ in range(2)]
        await holder.is_waited_for()
        later = [asyncio.ensure_future(database.scrub()) for _ in range(20)]
        await database.write(add_kinds, "x-1")
        for each in (first[0], later[0]):
            each.cancel()
        assert len(scrubs) == 1
        holder.let_go()
        return await asyncio.gather(first[1], *later[1:])

    assert served(database, work) == [None] * 20
    assert len(scrubs) == 2


@pytest.mark.postgresql
def test_a_stop_waits_for_a_scrub_and_for_what_is_written_after_it(
    database: Database, holder: Holder
) -> None:
    async def scrub_and_write() -> None:
        await database.scrub()
        await database.write(add_kinds, "x-1")

    async def main() -> None:
        database.start(100)
        erasing = asyncio.ensure_future(scrub_and_write())
        await holder.is_waited_for()
        stopping = asyncio.ensure_future(database.stop())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await database.scrub()
        assert not stopping.done()
        holder.let_go()
        await asyncio.gather(stopping, erasing)

    asyncio.run(main())
    with database.snapshot() as snapshot:
        assert kinds_of(snapshot, "x-") == ["x-1"]
