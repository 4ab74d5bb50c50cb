"""Proves the promises of storage on any database: one writer, groups, ids, statements, migrations."""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import insert
from storage.leases import add_kinds, add_lease, add_users, every_user, kinds_of, served, write

from databases import empty_url_of, on_postgresql, run_sql
from rollbook import cli
from rollbook.storage import (
    debts,
    group_writer,
    near_writer,
    planner_statistics,
    tables,
    upkeep_thread,
    workers,
)
from rollbook.storage.database import Database
from rollbook.storage.debts import Upkeep, is_quiet
from rollbook.storage.engines import Session
from rollbook.storage.faults import SchemaMismatch, Unavailable
from rollbook.storage.ids import BLOCK
from rollbook.storage.loop_queue import LoopQueue
from rollbook.storage.migrate import bring_up_to_date
from rollbook.storage.on_loop import elsewhere
from rollbook.storage.opening import open_database
from rollbook.storage.statements import InsertRows, every_statement
from rollbook.storage.transactions import Outdated, Snapshot, TakesLong, Transaction
from support import run_rollbook

assert cli.main, "importing it makes every statement of the register"

INTEGRITY = (apsw.ConstraintError, psycopg.IntegrityError)


def test_a_batch_is_one_transaction_and_a_refusal_takes_nobody_with_it(database: Database) -> None:
    async def work() -> list[Any]:
        kinds = ["x-1", "refused", "x-2", "x-3"]
        jobs = [database.write(add_kinds, kind) for kind in kinds]
        return await asyncio.gather(*jobs, return_exceptions=True)

    outcomes = served(database, work)
    assert [str(each) for each in outcomes] == ["x-1", "refused", "x-2", "x-3"]
    with database.snapshot() as snapshot:
        assert kinds_of(snapshot, "x-") == ["x-1", "x-2", "x-3"]


@pytest.mark.parametrize("is_short", [True, False])
@pytest.mark.parametrize("others", [0, 20])
def test_what_is_made_of_an_outcome_is_returned_in_its_place_and_a_refusal_is_raised_as_it_is(
    database: Database, is_short: bool, others: int
) -> None:
    def made(kind: str) -> str:
        if kind == "x-2":
            raise LookupError("nothing is made of it")
        return kind.upper()

    async def work() -> list[Any]:
        kinds = ["x-1", "refused", "x-2", *(f"y-{number}" for number in range(others))]
        jobs = [database.write(add_kinds, kind, is_short=is_short, then=made) for kind in kinds]
        return await asyncio.gather(*jobs, return_exceptions=True)

    first, refused, second, *rest = served(database, work)
    assert (first, str(refused), type(second)) == ("X-1", "refused", LookupError)
    assert rest == [f"Y-{number}" for number in range(others)]
    with database.snapshot() as snapshot:
        assert kinds_of(snapshot, "x-") == ["x-1", "x-2"]


@pytest.mark.parametrize("culprit", ["breaks", "contacts"])
def test_one_that_breaks_the_transaction_takes_none_of_the_others_with_it(
    database: Database, culprit: str
) -> None:
    async def work() -> list[Any]:
        kinds = [*(f"x-{number}" for number in range(40)), culprit, *(f"y-{number}" for number in range(40))]
        return await asyncio.gather(
            *(database.write(add_kinds, kind) for kind in kinds), return_exceptions=True
        )

    outcomes = served(database, work)
    (broken,) = [each for each in outcomes if isinstance(each, Exception)]
    assert isinstance(broken, ValueError if culprit == "breaks" else INTEGRITY)
    with database.snapshot() as snapshot:
        assert len(kinds_of(snapshot, "x-") + kinds_of(snapshot, "y-")) == 80


def break_reference(transaction: Transaction, items: list[int]) -> list[int]:
    if not on_postgresql():
        transaction._session.order("PRAGMA defer_foreign_keys = ON")
    transaction._session.order(
        "INSERT INTO contact_counts (site_id, contacts, subscribed, never_subscribed) VALUES (99, 0, 0, 0)"
    )
    return items


def test_a_commit_that_one_of_its_group_breaks_takes_none_of_the_others_with_it(database: Database) -> None:
    if on_postgresql():
        deferred = "ALTER CONSTRAINT contact_counts_site_id_fkey DEFERRABLE INITIALLY DEFERRED"
        run_sql(database.engine.name, f"ALTER TABLE contact_counts {deferred}")

    async def work() -> list[Any]:
        group = [
            database.write(add_kinds, "x-1"),
            database.write(break_reference, 1),
            database.write(add_kinds, "x-2"),
        ]
        outcomes = await asyncio.gather(*group, return_exceptions=True)
        later = await database.write(add_kinds, "x-3")
        return [*outcomes, later]

    first, broken, second, later = served(database, work)
    assert isinstance(broken, INTEGRITY)
    assert (first, second, later) == ("x-1", "x-2", "x-3")
    with database.snapshot() as snapshot:
        assert kinds_of(snapshot, "x-") == ["x-1", "x-2", "x-3"]


def test_an_operation_that_answers_too_few_is_an_error_and_keeps_nothing(database: Database) -> None:
    def forgetful(transaction: Transaction, kinds: list[str]) -> list[str]:
        add_kinds(transaction, kinds)
        return []

    with pytest.raises(RuntimeError, match="answered 0 of 1 items"):
        served(database, lambda: database.write(forgetful, "x-1"))
    with database.snapshot() as snapshot:
        assert kinds_of(snapshot, "x-") == []


def test_a_read_that_fails_takes_none_of_the_others_with_it(database: Database) -> None:
    def failing(_snapshot: Snapshot, _item: int) -> int:
        raise ValueError("broken")

    async def work() -> Any:
        jobs: list[Any] = [
            database.read(kinds_of, "contacts"),
            database.read(failing, 1),
            database.read(kinds_of, "keys"),
        ]
        return await asyncio.gather(*jobs, return_exceptions=True)

    first, second, third = served(database, work)
    assert (first, type(second), third) == (["contacts"], ValueError, ["keys"])


def test_more_than_may_wait_are_refused_and_the_rest_is_done(database: Database) -> None:
    async def work() -> list[Any]:
        jobs = [asyncio.ensure_future(write(database, add_kinds, f"x-{number}")) for number in range(20)]
        return await asyncio.gather(*jobs, return_exceptions=True)

    outcomes = served(database, work, max_waiting=5)
    assert [type(each) for each in outcomes].count(Unavailable) == 15
    with database.snapshot() as snapshot:
        assert len(kinds_of(snapshot, "x-")) == 5


def test_what_has_waited_too_long_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LONGEST_WAIT_SECONDS", -1.0)
    with pytest.raises(Unavailable, match="in time"):
        served(database, lambda: database.write(add_kinds, "x-1"))


@pytest.mark.parametrize("make_queue", [workers.ThreadQueue, LoopQueue])
def test_work_that_fails_as_it_never_should_is_answered_and_the_next_is_done(
    make_queue: Callable[[int, int, list[workers.Work]], workers.Queue],
) -> None:
    def work(jobs: list[workers.Job]) -> list[str]:
        if jobs[0].argument == "fails":
            raise ValueError("broken")
        return ["done"] * len(jobs)

    async def main() -> None:
        jobs = make_queue(10, 1, [work])
        failing, next_one = jobs.submit(print, "fails"), jobs.submit(print, "works")
        with pytest.raises(ValueError, match="broken"):
            await failing
        assert await next_one == "done"
        await jobs.stop()

    asyncio.run(main())


def test_a_database_that_is_not_started_or_has_stopped_is_unavailable(database: Database) -> None:
    async def nothing() -> None:
        return None

    async def ask_all() -> Any:
        both = (write(database, add_kinds, "x-1"), database.read(kinds_of, "x-1"))
        return await asyncio.gather(*both, return_exceptions=True)

    for _ in range(2):
        assert [type(each) for each in asyncio.run(ask_all())] == [Unavailable, Unavailable]
        for look in (database.remembered, database.glance):
            with pytest.raises(Unavailable):
                asyncio.run(look(kinds_of, "x-1"))
        with pytest.raises(Unavailable):
            asyncio.run(database.ready())
        served(database, nothing)


def test_what_had_begun_of_a_start_that_failed_is_ended(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Session] = []
    open_reader = database.engine.open_reader

    def open_one() -> Session:
        # On SQLite the first is the loop's own.
        if len(opened) > 1:
            raise OSError("too many open files")
        opened.append(open_reader())
        return opened[-1]

    async def main() -> None:
        with pytest.raises(OSError, match="too many open files"):
            database.start(100, Debt().alone())
        await database.stop()

    monkeypatch.setattr(database.engine, "open_reader", open_one)
    asyncio.run(main())
    assert [each.name for each in threading.enumerate() if each.name in ("writer", "upkeep")] == []
    monkeypatch.undo()
    assert served(database, lambda: database.write(add_kinds, "x-1")) == "x-1"


@pytest.mark.postgresql
def test_what_has_changed_between_a_stop_and_another_start_is_known_to_the_first_who_asks(
    database: Database,
) -> None:
    async def number_of_changes() -> int:
        await database.remembered(kinds_of, "contacts")
        _, as_of = database.recalled(kinds_of, "contacts") or ("", -1)
        return as_of

    as_of = served(database, number_of_changes)
    with database.transaction() as transaction:
        add_users(transaction, [1])
    assert not served(database, lambda: database.is_still(as_of))


@pytest.mark.sqlite
def test_a_read_that_may_be_a_glance_is_none_where_it_takes_long_or_work_is_owed(database: Database) -> None:
    def threads(_snapshot: Snapshot, _none: None) -> str:
        return threading.current_thread().name

    def threads_of_long(snapshot: Snapshot, _none: None) -> str:
        if snapshot.is_hurried:
            raise TakesLong
        return threading.current_thread().name

    def owe(transaction: Transaction, items: list[None]) -> list[None]:
        transaction.owes(1)
        return items

    async def work() -> list[str]:
        found = [await database.glance_or_read(look, None) for look in (threads, threads_of_long)]
        await database.write(owe, None)
        return [*found, await database.glance_or_read(threads, None)]

    here = threading.current_thread().name
    assert [name == here for name in served(database, work)] == [True, False, False]


@pytest.mark.postgresql
def test_a_write_as_of_what_has_changed_since_is_outdated_and_takes_none_of_the_others_with_it(
    database: Database,
) -> None:
    def look(_snapshot: Snapshot, _none: None) -> str:
        return "known"

    async def work() -> Any:
        assert database.recalled(look, None) is None
        await database.remembered(look, None)
        known, as_of = database.recalled(look, None) or ("", -1)
        assert (known, await database.is_still(as_of)) == ("known", True)
        current = await database.write(add_kinds, "x-1", as_of=as_of)
        await database.write(add_users, 1)
        jobs = (
            database.write(add_kinds, "x-2"),
            database.write(add_kinds, "x-3", as_of=as_of),
            database.write(add_kinds, "x-4", as_of=as_of + 1),
        )
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        return current, outcomes, await database.is_still(as_of), database.recalled(look, None)

    current, (first, outdated, last), is_still, recalled = served(database, work)
    assert (current, first, type(outdated), last) == ("x-1", "x-2", Outdated, "x-4")
    assert (is_still, recalled) == (False, None)
    with database.snapshot() as snapshot:
        assert kinds_of(snapshot, "x-") == ["x-1", "x-2", "x-4"]


@pytest.mark.postgresql
def test_a_read_as_of_what_has_changed_since_is_outdated_and_takes_none_of_the_others_with_it(
    database: Database,
) -> None:
    def each(_snapshot: Snapshot, items: list[str]) -> list[str]:
        return items

    async def work() -> Any:
        await database.remembered(kinds_of, "contacts")
        _, as_of = database.recalled(kinds_of, "contacts") or ("", -1)
        jobs: list[Any] = [
            database.read(kinds_of, "keys", as_of=as_of),
            database.read(kinds_of, "keys", as_of=as_of - 1),
            database.read(kinds_of, "keys"),
            database.glance_at_each(each, "first", as_of=as_of - 1),
            database.glance_at_each(each, "second", as_of=as_of),
        ]
        return await asyncio.gather(*jobs, return_exceptions=True)

    outcomes = served(database, work)
    assert [type(outcome) for outcome in outcomes] == [list, Outdated, list, Outdated, str]


def test_rows_that_are_inserted_together_keep_every_text_as_it_is(database: Database) -> None:
    kinds = ["x-'\"\\", "x-\\u0000", "x-\n\u2028", "x-ä\U0001f600", "x-{}[]"]
    with database.transaction() as transaction:
        transaction.insert(add_lease, [(kind, at) for at, kind in enumerate(kinds)])
    with database.snapshot() as snapshot:
        assert kinds_of(snapshot, "x-") == sorted(kinds)


@pytest.mark.postgresql
def test_a_look_goes_by_what_is_remembered_until_anybody_changes_that(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each reader has a memory of its own.
    monkeypatch.setattr(database.engine, "readers", 1)
    tries = 0

    def count(snapshot: Snapshot, _none: None) -> int:
        return len(snapshot.rows(every_user))

    def known_and_seen(snapshot: Snapshot, _none: None) -> tuple[int, int]:
        nonlocal tries
        tries += 1
        return snapshot.remembered(count, None), len(snapshot.rows(every_user))

    async def work() -> list[tuple[int, int, int]]:
        found = [(*await database.glance(known_and_seen, None), tries) for _ in range(2)]
        await database.write(add_users, 1)
        return [*found, *[(*await database.glance(known_and_seen, None), tries) for _ in range(2)]]

    # What is not remembered yet is looked up in a transaction, what does not stand any more in another.
    assert served(database, work) == [(0, 0, 2), (0, 0, 3), (1, 1, 5), (1, 1, 6)]


@pytest.mark.postgresql
def test_a_look_that_turns_out_to_be_several_sees_one_state(database: Database) -> None:
    tries = 0

    def twice(snapshot: Snapshot, _none: None) -> tuple[int, int]:
        nonlocal tries
        tries += 1
        before = len(snapshot.rows(every_user))
        with database.transaction() as transaction:
            add_users(transaction, [tries])
        return before, len(snapshot.rows(every_user))

    assert served(database, lambda: database.glance(twice, None)) == (1, 1)
    assert tries == 2


@pytest.mark.postgresql
def test_a_look_that_came_before_a_change_is_not_remembered_after_it(database: Database) -> None:
    began, may_end = threading.Event(), threading.Event()
    looks = 0

    def slow(_snapshot: Snapshot, _none: None) -> str:
        nonlocal looks
        looks += 1
        began.set()
        assert elsewhere(lambda: may_end.wait(30))
        return "known"

    def quick(_snapshot: Snapshot, _none: None) -> str:
        return "known"

    async def work() -> int:
        before = asyncio.ensure_future(database.remembered(slow, None))
        assert await asyncio.to_thread(began.wait, 30)
        await database.write(add_users, 1)
        # Another request learns of the change while the look is under way.
        await database.remembered(quick, None)
        may_end.set()
        await before
        await database.remembered(slow, None)
        return looks

    assert served(database, work) == 2


@pytest.mark.postgresql
def test_a_transaction_does_not_remember_what_it_changes_itself(database: Database) -> None:
    counts: list[int] = []

    def count(snapshot: Snapshot, _none: None) -> int:
        return len(snapshot.rows(every_user))

    def add_and_count(transaction: Transaction, ids: list[int]) -> list[None]:
        counts.append(transaction.remembered(count, None))
        add_users(transaction, ids)
        counts.append(transaction.remembered(count, None))
        return [None] * len(ids)

    async def work() -> None:
        for each in range(1, 4):
            await database.write(add_and_count, each)

    served(database, work)
    assert counts == [0, 1, 1, 2, 2, 3]


class Debt:
    """What transactions of a test owe, and an upkeep that does two of it at a time, once it may."""

    def __init__(self) -> None:
        self.owed: list[int] = []
        self.is_felt = False
        self.may_go_on, self.is_done, self.has_begun = threading.Event(), threading.Event(), threading.Event()
        self.failures = 0
        self.owed_when_tidied: list[int] = []
        self.is_tidy = threading.Event()

    def owe(self, transaction: Transaction, items: list[int]) -> list[int]:
        self.owed.extend(items)
        transaction.owes(len(items))
        return items

    def upkeep(self, _transaction: Transaction) -> int:
        self.has_begun.set()
        assert self.may_go_on.wait(30)
        if self.failures:
            self.failures -= 1
            raise ValueError("not now")
        done = len(self.owed[:2])
        del self.owed[:2]
        if done and not self.owed:
            self.is_done.set()
        return done

    def alone(self) -> Upkeep:
        """Return what does this debt."""
        return Upkeep(lambda _snapshot: len(self.owed), self.upkeep, self.tidy, lambda: self.is_felt)

    def tidy(self, _transaction: Transaction) -> None:
        self.owed_when_tidied.append(len(self.owed))
        self.is_tidy.set()

    def served(self, database: Database, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            database.start(100, self.alone())
            try:
                await work()
            finally:
                self.may_go_on.set()
                await database.stop()

        asyncio.run(main())


def test_what_is_owed_is_done_when_nobody_has_written_for_a_moment(database: Database) -> None:
    debt = Debt()
    debt.may_go_on.set()

    async def work() -> None:
        await asyncio.gather(*(database.write(debt.owe, at, is_short=True) for at in range(7)))
        assert await asyncio.to_thread(debt.is_done.wait, 30)

    debt.served(database, work)
    assert debt.owed == []


def test_what_could_not_be_done_is_done_after_the_next_write(database: Database) -> None:
    debt = Debt()
    debt.failures = 1
    debt.may_go_on.set()

    async def work() -> None:
        await database.write(debt.owe, 1)
        while debt.failures:
            await asyncio.to_thread(debt.has_begun.wait, 30)
        await database.write(debt.owe, 2)
        assert await asyncio.to_thread(debt.is_done.wait, 30)

    debt.served(database, work)
    assert debt.owed == []


@pytest.mark.postgresql
def test_once_nothing_is_owed_it_is_tidied_up_once(database: Database) -> None:
    debt = Debt()
    debt.may_go_on.set()

    async def work() -> None:
        # For what was left before, and after each of two bursts.
        assert await asyncio.to_thread(debt.is_tidy.wait, 30)
        for _ in range(2):
            debt.is_tidy.clear()
            await asyncio.gather(*(database.write(debt.owe, at) for at in range(7)))
            assert await asyncio.to_thread(debt.is_tidy.wait, 30)

    debt.served(database, work)
    assert debt.owed_when_tidied == [0, 0, 0]


@pytest.mark.postgresql
def test_nobody_waits_for_what_is_owed_while_statistics_are_made(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    are_made, may_end = threading.Event(), threading.Event()

    def renew(_transaction: Transaction) -> None:
        are_made.set()
        assert may_end.wait(60)

    monkeypatch.setattr(debts, "MOST_OWED", 20)
    monkeypatch.setattr(upkeep_thread, "LONGEST_WAIT_SECONDS", 60)
    monkeypatch.setattr(planner_statistics, "are_outgrown", lambda _transaction, _times: True)
    monkeypatch.setattr(planner_statistics, "renew", renew)
    debt = Debt()
    debt.may_go_on.set()

    async def work() -> None:
        try:
            await database.write(debt.owe, 0)
            assert await asyncio.to_thread(are_made.wait, 30)
            for at in range(1, 30):
                await asyncio.wait_for(database.write(debt.owe, at), 30)
            assert len(debt.owed) > 20
        finally:
            may_end.set()

    debt.served(database, work)


@pytest.mark.sqlite
def test_what_nobody_feels_is_left_and_then_paid_back_by_many(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody is ever quiet for so long.
    monkeypatch.setattr(near_writer, "QUIET_SECONDS", 600)
    monkeypatch.setattr(debts, "MOST_OWED", 20)
    monkeypatch.setattr(debts, "MOST_OWED_WHERE_FELT", 5)
    monkeypatch.setattr(debts, "PAID_BACK_AT_ONCE", 4)
    debt = Debt()
    debt.may_go_on.set()
    left: list[int] = []

    async def write_so_many(times: int) -> None:
        for at in range(times):
            await database.write(debt.owe, at, is_short=True)
            left.append(len(debt.owed))

    async def work() -> None:
        await write_so_many(23)
        debt.is_felt = True
        await write_so_many(7)
        debt.is_felt = False
        await write_so_many(1)

    debt.served(database, work)
    assert left == [*range(1, 22), 20, 21, *(18, 15, 12, 9, 6, 5, 6), 7]


def test_what_is_owed_is_done_beside_those_who_write_little(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A moment in which nobody writes comes never.
    def is_quiet_beside_some(written: float, owed: int) -> bool:
        return written > 0 and is_quiet(written, owed)

    for module in (near_writer, upkeep_thread):
        monkeypatch.setattr(module, "is_quiet", is_quiet_beside_some)
    monkeypatch.setattr(debts, "FEW_WRITTEN", 1_000_000)
    monkeypatch.setattr(debts, "MOST_OWED", 1_000_000_000)
    monkeypatch.setattr(debts, "PORTION", 20)
    debt = Debt()
    debt.may_go_on.set()

    async def work() -> None:
        async with asyncio.timeout(30):
            while not debt.has_begun.is_set():
                await database.write(debt.owe, 1, is_short=True)
        # Two of them may be done already.
        assert len(debt.owed) >= 18

    debt.served(database, work)


@pytest.mark.postgresql
def test_what_other_servers_owe_is_done_where_it_is_felt(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep_thread, "LOOK_SECONDS", 0.01)
    debt = Debt()
    debt.may_go_on.set()

    async def work() -> None:
        assert await asyncio.to_thread(debt.is_tidy.wait, 30)
        debt.owed += range(5)
        debt.is_felt = True
        assert await asyncio.to_thread(debt.is_done.wait, 30)

    debt.served(database, work)
    assert debt.owed == []


@pytest.mark.postgresql
@pytest.mark.parametrize(
    ("limit", "is_felt"),
    [
        pytest.param("MOST_OWED", False, id="where nobody feels it"),
        pytest.param("MOST_OWED_WHERE_FELT", True, id="where somebody does"),
    ],
)
def test_writes_do_not_wait_for_what_is_owed_until_that_is_too_much(
    database: Database, monkeypatch: pytest.MonkeyPatch, limit: str, is_felt: bool
) -> None:
    monkeypatch.setattr(debts, limit, 20)
    debt = Debt()
    debt.is_felt = is_felt

    async def work() -> None:
        for at in range(21):
            await database.write(debt.owe, at)
        assert await asyncio.to_thread(debt.has_begun.wait, 30)
        assert len(debt.owed) == 21
        waiting = asyncio.ensure_future(database.write(debt.owe, 21))
        # The database answers others, and would have answered this one.
        for _ in range(20):
            await database.read(kinds_of, "contacts")
        assert not waiting.done()
        debt.may_go_on.set()
        await waiting
        assert await asyncio.to_thread(debt.is_done.wait, 30)

    debt.served(database, work)


@pytest.mark.parametrize(
    ("longest_turn", "groups"),
    [
        pytest.param(60.0, [5, *[10] * 9, 5], id="they are one group"),
        pytest.param(-60.0, [5] * 20, id="nobody waits for them where the loop is busy with others"),
    ],
)
def test_those_who_write_again_once_they_are_answered_and_those_who_came_meanwhile(
    database: Database, monkeypatch: pytest.MonkeyPatch, longest_turn: float, groups: list[int]
) -> None:
    monkeypatch.setattr(group_writer, "TURN_SECONDS", longest_turn)
    found: list[int] = []
    has_begun = asyncio.Event()

    def counted(transaction: Transaction, kinds: list[str]) -> list[str | Exception]:
        found.append(len(kinds))
        has_begun.set()
        # Others come meanwhile, however soon the database answers.
        elsewhere(lambda: None)
        return add_kinds(transaction, kinds)

    async def client(name: str) -> None:
        for at in range(10):
            await database.write(counted, f"{name}-{at}", is_short=True)

    async def later_client(name: str) -> None:
        await has_begun.wait()
        await client(name)

    async def work() -> None:
        others = [later_client(f"y-{at}") for at in range(5)]
        await asyncio.gather(*(client(f"x-{at}") for at in range(5)), *others)

    served(database, work)
    assert found == groups


def test_ids_are_never_given_twice(database: Database) -> None:
    given: list[int] = []
    with database.transaction() as transaction:
        given += transaction.new_ids("contacts", 3 * BLOCK + 1)
    with contextlib.suppress(ValueError), database.transaction() as transaction:
        transaction.new_ids("contacts", 2 * BLOCK)
        raise ValueError("undone")
    second = open_database(database.engine.name)
    for each in (second, database, second, database):
        with each.transaction() as transaction:
            given += transaction.new_ids("contacts", 700)
    second.close()
    assert len(set(given)) == len(given)
    assert max(given) < 2**53
    with (
        pytest.raises(LookupError, match="no ids are kept for 'nothing'"),
        database.transaction() as transaction,
    ):
        transaction.new_ids("nothing", 1)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 63, 64, 65, 127, 128, 200])
def test_any_number_of_rows_is_inserted(database: Database, count: int) -> None:
    with database.transaction() as transaction:
        transaction.insert(add_lease, [(f"x-{number:03}", number) for number in range(count)])
        assert kinds_of(transaction, "x-") == [f"x-{number:03}" for number in range(count)]
        assert transaction.statements_run <= 8 + 1


def test_columns_out_of_order_are_refused(database: Database) -> None:
    wrong = InsertRows(insert(tables.id_leases), ["next_id", "kind"])
    with pytest.raises(ValueError, match="not in the order of the table"):
        wrong.text(database.engine.dialect, 1)


def test_every_statement_of_the_register_fits_the_schema(database: Database) -> None:
    session = database._session()
    checked = 0
    for statement in list(every_statement):
        if statement.only not in (None, database.engine.dialect.name):
            continue
        sql, names, _ = statement.compiled(database.engine.dialect)
        if not sql.startswith("ANALYZE "):  # PostgreSQL explains queries alone
            session.rows("EXPLAIN " + sql, [None] * len(names))
        assert not re.search(r"select\s+\*", sql, re.IGNORECASE)
        checked += 1
    assert checked >= 25


@pytest.mark.sqlite
def test_the_revisions_are_those_of_the_migrations() -> None:
    folder = Path(tables.__file__).with_name("migrations")
    scripts = ScriptDirectory(str(folder))
    assert tuple(script.revision for script in reversed(list(scripts.walk_revisions()))) == tables.REVISIONS


# The register's own tables, which belong to no site.
OF_NO_SITE = {"users", "keys", "tokens", "id_leases", "kept_answers"}


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "table", [t for t in tables.metadata.sorted_tables if t.name not in OF_NO_SITE], ids=str
)
def test_keys_begin_with_the_site(table: Any) -> None:
    site = "id" if table.name == "sites" else "site_id"
    assert next(iter(table.primary_key.columns)).name == site
    if table.name == "sites":
        return
    for constraint in table.constraints:
        columns = [column.name for column in getattr(constraint, "columns", [])]
        to_keys = table.name == "key_sites" and columns == ["key_id"]
        assert (
            not columns
            or columns[0] == site
            or to_keys
            or "event IN" in str(getattr(constraint, "sqltext", ""))
        )
    for index in table.indexes:
        assert next(iter(index.columns)).name == site or index.name == "key_sites_by_key"


def test_a_newer_schema_is_refused(database: Database) -> None:
    run_sql(database.engine.name, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatch, match="newer than this program"):
        bring_up_to_date(database)


def test_several_migrations_at_once_make_one_schema(tmp_path: Path) -> None:
    url = empty_url_of(tmp_path / "rollbook.db")
    environment = os.environ | {"ROLLBOOK_DATABASE": url}
    command = [sys.executable, "-m", "rollbook", "db", "upgrade"]
    every = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.wait(60) for process in every] == [0] * 4
    for process in every:
        assert process.stdout is not None
        process.stdout.close()
    assert run_rollbook("db", "check", ROLLBOOK_DATABASE=url).returncode == 0


def test_a_database_that_cannot_be_migrated_is_explained(tmp_path: Path) -> None:
    url = empty_url_of(tmp_path / "rollbook.db")
    run_sql(url, "CREATE TABLE sites (x TEXT)")
    database = open_database(url)
    with pytest.raises(Exception, match=r"sites.* already exists"):
        bring_up_to_date(database)
    database.close()
    assert run_sql(url, "SELECT x FROM sites") == []


def test_opening_and_closing_leaves_no_file_open(database: Database) -> None:
    async def nothing() -> None:
        return None

    served(database, nothing)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        each = open_database(database.engine.name)
        served(each, nothing)
    assert len(os.listdir("/proc/self/fd")) == before
