"""Proves what becomes of work whose database fails: done once, or unavailable, and never unusable after."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import insert, select

from databases import PostgreSQLServer
from fault_proxy import NOTHING, Fault, FaultProxy, Plan, Planned
from rollbook.storage import postgresql, postgresql_connection, tables
from rollbook.storage.database import Database
from rollbook.storage.debts import Upkeep
from rollbook.storage.faults import Unavailable
from rollbook.storage.opening import open_database
from rollbook.storage.postgresql_session import NOTE_WRITE, PostgreSQLSession
from rollbook.storage.statements import InsertRows, Statement
from rollbook.storage.transactions import Snapshot, Transaction
from support import wait_until

add_lease = InsertRows(insert(tables.id_leases).returning(tables.id_leases.c.kind), ["kind", "next_id"])
leases = Statement(select(tables.id_leases.c.kind))
HELD_SECONDS = 30.0


class World:
    """A database behind a proxy, and an operation that counts how often it is done."""

    def __init__(self, server: PostgreSQLServer) -> None:
        self.url = server.new_database()
        self.proxy = FaultProxy(self.url)
        self.database: Database = open_database(self.proxy.url)
        self.attempts = 0

    def close(self) -> None:
        self.proxy.release.set()
        self.database.close()
        self.proxy.close()

    def add(self, transaction: Transaction, kinds: list[str]) -> list[str]:
        """Add a row for each; answer with the number of the attempt, which no other attempt answers."""
        self.attempts += 1
        transaction.insert(add_lease, [(kind, 1) for kind in kinds])
        return [f"{kind} by attempt {self.attempts}" for kind in kinds]

    def served(
        self,
        work: Callable[[], Awaitable[Any]],
        upkeep: Callable[[Transaction], int] | None = None,
    ) -> Any:
        """Run a coroutine with the database's threads started; the first write begins it all."""

        async def main() -> Any:
            alone = Upkeep(lambda _: 0, upkeep, lambda _: None, lambda: False) if upkeep else None
            self.database.start(100, alone)
            try:
                return await work()
            finally:
                await self.database.stop()

        return asyncio.run(main())

    def breaks_first(self, fault: Fault, seconds: float = 0.0) -> Plan:
        """Return the plan by which the next transaction alone meets a fault."""
        first = self.proxy.transactions + 1
        return lambda number: Planned(fault, 9, seconds) if number == first else NOTHING

    def set_read_only(self, value: str) -> None:
        """Have the database for reading only, or not, for connections that begin from now on."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(b"SET default_transaction_read_only = off")
            name = self.url.rpartition("/")[2]
            connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {value}".encode())

    def kinds(self) -> list[str]:
        """Return the rows that are there, read beside the proxy."""
        with psycopg.connect(self.url) as connection:
            sql = b"SELECT kind FROM id_leases WHERE kind LIKE 'kind %' ORDER BY kind"
            return [row[0] for row in connection.execute(sql)]

    def waits_for_a_lock(self) -> bool:
        """Say whether a session of the register waits for another."""
        with psycopg.connect(self.url) as connection:
            sql = b"SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            return bool(connection.execute(sql).fetchall())


@pytest.fixture
def world(postgresql: PostgreSQLServer) -> Iterator[World]:
    made = World(postgresql)
    with contextlib.closing(made):
        yield made


def test_a_write_whose_commit_was_done_but_not_answered_is_not_done_again(world: World) -> None:
    world.proxy.plan = world.breaks_first(Fault.LOST_AFTER_COMMIT)
    answer = world.served(lambda: world.database.write(world.add, "kind 1"))
    assert (answer, world.attempts, world.kinds()) == ("kind 1 by attempt 1", 1, ["kind 1"])
    assert world.proxy.seen[Fault.LOST_AFTER_COMMIT.value] == 1


def test_an_answer_is_made_while_the_commit_is_under_way(world: World) -> None:
    world.proxy.plan = world.breaks_first(Fault.COMMIT_HELD, HELD_SECONDS)
    made: list[str] = []

    async def work() -> Any:
        then = made.append
        written = asyncio.ensure_future(world.database.write(world.add, "kind 1", is_short=True, then=then))
        await asyncio.to_thread(wait_until, world.waits_for_a_lock, 20)
        assert (made, world.kinds(), written.done()) == (["kind 1 by attempt 1"], [], False)
        world.proxy.release.set()
        return await written

    assert world.served(work) is None
    assert (made, world.kinds()) == (["kind 1 by attempt 1"], ["kind 1"])


def test_what_a_write_owes_is_done_though_its_commit_was_not_answered(world: World) -> None:
    nothing_was_owed, is_paid = threading.Event(), threading.Event()

    def add_and_owe(transaction: Transaction, kinds: list[str]) -> list[str]:
        transaction.owes(len(kinds))
        return world.add(transaction, kinds)

    def pay(transaction: Transaction) -> int:
        done = len(leases_of(transaction, "kind "))
        (is_paid if done else nothing_was_owed).set()
        return done

    async def work() -> Any:
        # A server that begins looks for what others have left; that must not be what pays.
        assert await asyncio.to_thread(nothing_was_owed.wait, 30)
        world.proxy.plan = world.breaks_first(Fault.LOST_AFTER_COMMIT)
        answer = await world.database.write(add_and_owe, "kind 1")
        assert world.proxy.seen[Fault.LOST_AFTER_COMMIT.value] == 1
        assert await asyncio.to_thread(is_paid.wait, 30)
        return answer

    assert world.served(work, pay) == "kind 1 by attempt 1"


@pytest.mark.parametrize("fault", [Fault.LOST_BEFORE_COMMIT, Fault.LOST_IN_THE_MIDDLE, Fault.BACKEND_KILLED])
def test_a_write_whose_commit_was_not_done_is_done_again(world: World, fault: Fault) -> None:
    world.proxy.plan = world.breaks_first(fault)
    answer = world.served(lambda: world.database.write(world.add, "kind 1"))
    assert (answer, world.attempts, world.kinds()) == ("kind 1 by attempt 2", 2, ["kind 1"])
    assert world.proxy.seen[fault.value] == 1


def test_another_attempt_waits_for_a_backend_that_commits_later_and_stands_by_its_answer(
    world: World,
) -> None:
    world.proxy.plan = world.breaks_first(Fault.COMMIT_HELD, HELD_SECONDS)

    async def work() -> Any:
        written = asyncio.ensure_future(world.database.write(world.add, "kind 1"))
        await asyncio.to_thread(wait_until, world.waits_for_a_lock, 20)
        assert (world.attempts, world.kinds(), written.done()) == (1, [], False)
        world.proxy.release.set()
        return await written

    assert world.served(work) == "kind 1 by attempt 1"
    assert (world.attempts, world.kinds()) == (1, ["kind 1"])


def test_another_attempt_waits_for_a_backend_that_ends_later_and_then_does_it(world: World) -> None:
    world.proxy.plan = world.breaks_first(Fault.COMMIT_HELD, HELD_SECONDS)

    async def work() -> Any:
        written = asyncio.ensure_future(world.database.write(world.add, "kind 1"))
        await asyncio.to_thread(wait_until, world.waits_for_a_lock, 20)
        world.proxy.cut_all()
        world.proxy.release.set()
        return await written

    answer = world.served(work)
    # The cut may meet the second attempt, too.
    assert world.attempts >= 2
    assert (answer, world.kinds()) == (f"kind 1 by attempt {world.attempts}", ["kind 1"])


def test_writes_of_which_some_lose_their_answer_leave_each_row_once(world: World) -> None:
    world.proxy.plan = lambda number: Planned(Fault.LOST_AFTER_COMMIT if number % 2 else None)

    async def work() -> list[str]:
        return [await world.database.write(world.add, f"kind {number}") for number in range(10)]

    answers = world.served(work)
    assert answers == [f"kind {number} by attempt {number + 1}" for number in range(10)]
    assert world.kinds() == [f"kind {number}" for number in range(10)]


def test_a_transaction_that_reads_nothing_is_noted_before_it_commits(world: World) -> None:
    session = world.database.engine.open_writer()
    assert isinstance(session, PostgreSQLSession)
    with contextlib.closing(session):
        # Another attempt at the same work came to its end before this one came to the database.
        with psycopg.connect(world.url, cursor_factory=psycopg.RawCursor) as connection:
            connection.execute(NOTE_WRITE.encode(), (session.writer_id, 1))
        session.begin()
        session.order("INSERT INTO id_leases (kind, next_id) VALUES ('kind 1', 1)")
        with pytest.raises(psycopg.OperationalError):
            session.commit()
        session.roll_back()
    assert world.kinds() == []


def test_a_database_that_falls_silent_is_unavailable_and_is_used_again_when_it_speaks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_connection, "LONGEST_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(postgresql, "PATIENCE_SECONDS", 1.0)

    async def work() -> None:
        assert await world.database.write(world.add, "kind 1")
        await world.database.ready()
        world.proxy.speaks.clear()
        with pytest.raises(Unavailable):
            await world.database.write(world.add, "kind 2")
        with pytest.raises(Unavailable):
            await world.database.ready()
        world.proxy.speaks.set()
        for _ in range(20):
            # Connections that were cut off in the middle are found out one after the other.
            with contextlib.suppress(Unavailable):
                await world.database.write(world.add, "kind 3")
                break
        await world.database.ready()

    world.served(work)
    # What was not answered is there at most once, and the next is there.
    assert world.kinds() in (["kind 1", "kind 3"], ["kind 1", "kind 2", "kind 3"])


def test_a_database_that_was_for_reading_only_is_written_to_by_the_next_write(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "PATIENCE_SECONDS", 0.5)

    async def work() -> None:
        world.set_read_only("on")
        world.proxy.cut_all()
        with pytest.raises(Unavailable):
            await world.database.write(world.add, "kind 1")
        await world.database.ready()
        # Readers have connections that began now, too.
        await asyncio.gather(*(world.database.read(leases_of, "kind") for _ in range(100)))
        world.set_read_only("off")
        await world.database.write(world.add, "kind 2")

    world.served(work)
    assert world.kinds() == ["kind 2"]


def test_while_the_database_is_away_all_who_wait_are_told_together(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(postgresql, "LONGEST_WAIT_SECONDS", 0.5)

    async def work() -> None:
        world.proxy.refuse()
        began = time.monotonic()
        reads = [world.database.read(leases_of, "kind") for _ in range(64)]
        writes = [world.database.write(world.add, f"kind {number}") for number in range(64)]
        outcomes = await asyncio.gather(*reads, *writes, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {Unavailable}
        # Each by itself would have waited half a second at least.
        assert time.monotonic() - began < 15
        world.proxy.accept()
        # The pool tries again after a pause of its own.
        monkeypatch.setattr(postgresql, "PATIENCE_SECONDS", 30.0)
        assert await world.database.write(world.add, "kind 0")

    world.served(work)
    assert world.kinds() == ["kind 0"]


def leases_of(snapshot: Snapshot, beginning: str) -> list[str]:
    """Return the kinds of leases that begin so."""
    return [row[0] for row in snapshot.rows(leases) if row[0].startswith(beginning)]
