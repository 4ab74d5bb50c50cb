"""Proves what is told of the writer of a near database: who does what on which thread, and who stays current."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest
from storage.leases import add_kinds, add_users, kinds_of, served, write

from rollbook.storage import near_writer
from rollbook.storage.database import Database
from rollbook.storage.faults import Unavailable
from rollbook.storage.opening import open_database
from rollbook.storage.sqlite import CommitWatch, SQLite
from rollbook.storage.transactions import Snapshot, Transaction

pytestmark = pytest.mark.sqlite


def here(transaction: Transaction, kinds: list[str]) -> list[str | Exception]:
    """Add leases; answer with the thread's name instead of theirs."""
    add_kinds(transaction, kinds)
    return [threading.current_thread().name] * len(kinds)


def write_all(database: Database, *kinds: str) -> Coroutine[Any, Any, list[Any]]:
    async def work() -> list[Any]:
        jobs = [database.write(here, kind, is_short=True) for kind in kinds]
        return await asyncio.gather(*jobs, return_exceptions=True)

    return work()


def lone_and_together(database: Database) -> tuple[set[str], set[str]]:
    """Return the names of the threads that commit a lone short job, and several."""
    session = database._session()
    threads: list[str] = []
    commit = type(session).commit

    def noting(self: Any, changed: Any = ()) -> None:
        if self is session:
            threads.append(threading.current_thread().name)
        commit(self, changed)

    async def work() -> tuple[set[str], set[str]]:
        await write_all(database, "x-0")
        threads.clear()
        await write_all(database, "x-1")
        alone, threads[:] = set(threads), []
        await write_all(database, "x-2", "x-3")
        return alone, set(threads)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(session), "commit", noting)
        found: tuple[set[str], set[str]] = served(database, work)
    return found


def test_short_jobs_are_done_on_the_loop_s_thread_and_others_on_the_writer_s(database: Database) -> None:
    async def work() -> list[Any]:
        return [*await write_all(database, "x-1", "x-2"), await database.write(here, "x-3")]

    loop = threading.current_thread().name
    assert served(database, work) == [loop, loop, "writer"]
    with database.snapshot() as snapshot:
        assert kinds_of(snapshot, "x-") == ["x-1", "x-2", "x-3"]


@pytest.mark.parametrize(("longest", "on_loop"), [(60.0, True), (0.0, False)])
def test_a_lone_commit_is_made_on_the_loop_s_thread_where_the_disk_was_quick_and_no_others(
    database: Database, monkeypatch: pytest.MonkeyPatch, longest: float, on_loop: bool
) -> None:
    monkeypatch.setattr(near_writer, "SHORT_COMMIT_SECONDS", longest)
    alone, together = lone_and_together(database)
    assert alone == {threading.current_thread().name if on_loop else "writer"}
    assert together == {"writer"}


def test_a_commit_that_may_carry_the_log_over_is_not_made_on_the_loop_s_thread(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_writer, "SHORT_COMMIT_SECONDS", 60.0)
    monkeypatch.setattr("rollbook.storage.sqlite.PAGES_OF_A_COMMIT", 4_000)
    alone, _ = lone_and_together(database)
    assert alone == {"writer"}


def test_short_jobs_wait_on_the_writer_s_thread_for_whoever_has_the_file(database: Database) -> None:
    other = open_database(database.engine.name)

    async def work() -> list[Any]:
        with other.transaction():
            waiting = asyncio.ensure_future(write_all(database, "x-1"))
            # The loop is free meanwhile: this read is answered while the write waits.
            await database.glance(kinds_of, "x-")
            for _ in range(3):
                await asyncio.sleep(0)
            assert not waiting.done()
        return await waiting

    assert served(database, work) == ["writer"]
    other.close()


def test_a_short_job_that_breaks_its_group_takes_none_of_the_others_with_it(database: Database) -> None:
    async def work() -> list[Any]:
        return await write_all(database, "x-1", "breaks", "x-2")

    first, broken, second = served(database, work)
    assert (first, type(broken), second) == ("writer", ValueError, "writer")
    with database.snapshot() as snapshot:
        assert kinds_of(snapshot, "x-") == ["x-1", "x-2"]


@pytest.mark.parametrize("count", [1, 3])
def test_a_commit_that_fails_is_told_and_leaves_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(near_writer, "SHORT_COMMIT_SECONDS", 60.0)

    async def work() -> list[Any]:
        await write_all(database, "x-0")
        session = type(database._session())
        with monkeypatch.context() as patch:
            patch.setattr(session, "commit", fail)
            failed = await write_all(database, *(f"y-{at}" for at in range(count)))
        return [*failed, *await write_all(database, "x-1")]

    def fail(*_: Any) -> None:
        raise Unavailable("The disk is full.")

    *failed, last = served(database, work)
    assert [type(each) for each in failed] == [Unavailable] * count
    assert last == threading.current_thread().name
    with database.snapshot() as snapshot:
        assert kinds_of(snapshot, "y-") == []
        assert kinds_of(snapshot, "x-") == ["x-0", "x-1"]


def test_the_answers_of_many_are_made_while_their_commit_is_under_way(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = database._session()
    commit = type(session).commit
    made: list[str] = []
    are_made = threading.Event()
    kinds = [f"x-{at}" for at in range(near_writer.MANY_TO_PREPARE)]

    def waiting(self: Any, changed: Any = ()) -> None:
        if self is session:
            assert are_made.wait(30), "the COMMIT waited for answers that are made after it"
        commit(self, changed)

    def make(kind: str) -> str:
        made.append(kind)
        if len(made) == len(kinds):
            are_made.set()
        return kind

    async def work() -> list[Any]:
        with monkeypatch.context() as patch:
            patch.setattr(type(session), "commit", waiting)
            jobs = [database.write(add_kinds, kind, is_short=True, then=make) for kind in kinds]
            return await asyncio.gather(*jobs)

    assert served(database, work) == made == kinds


def test_after_a_commit_that_failed_answers_are_made_of_what_was_done_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = database._session()
    commit = type(session).commit
    failures = iter([ValueError("nobody knows why")])

    def failing(self: Any, changed: Any = ()) -> None:
        if self is session and (failure := next(failures, None)):
            raise failure
        commit(self, changed)

    async def work() -> list[Any]:
        with monkeypatch.context() as patch:
            patch.setattr(type(session), "commit", failing)
            kinds = [f"x-{at}" for at in range(near_writer.MANY_TO_PREPARE)]
            jobs = [database.write(here, kind, is_short=True, then=str.upper) for kind in kinds]
            return await asyncio.gather(*jobs)

    assert set(served(database, work)) == {"WRITER"}


def test_after_a_commit_that_failed_a_lone_one_is_made_on_the_writer_s_thread(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_writer, "SHORT_COMMIT_SECONDS", 60.0)
    session = database._session()
    commit = type(session).commit
    threads: list[str] = []

    def failing(self: Any, changed: Any = ()) -> None:
        if self is session:
            threads.append(threading.current_thread().name)
            raise Unavailable("The disk does not answer.")
        commit(self, changed)

    async def work() -> None:
        await write_all(database, "x-0")
        with monkeypatch.context() as patch:
            patch.setattr(type(session), "commit", failing)
            for kind in ("y-1", "y-2"):
                await write_all(database, kind)

    served(database, work)
    assert threads == [threading.current_thread().name, "writer"]


def looks_made(database: Database, between: Any) -> int:
    """Return how often something remembered is looked up, asked for before and after something is done."""
    looks = 0

    def look(_snapshot: Snapshot, _none: None) -> str:
        nonlocal looks
        looks += 1
        return "known"

    async def work() -> int:
        for _ in range(2):
            await database.remembered(look, None)
        assert looks == 1
        await between()
        await database.remembered(look, None)
        return looks

    found: int = served(database, work)
    return found


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_remembered_outlives_a_commit_that_changes_nothing_of_it(
    database: Database, count: int
) -> None:
    async def between() -> None:
        for turn in range(5):
            await write_all(database, *(f"x-{turn}-{at}" for at in range(count)))

    assert looks_made(database, between) == 1


@pytest.mark.parametrize("is_short", [True, False])
def test_what_is_remembered_is_forgotten_when_it_may_have_changed(database: Database, is_short: bool) -> None:
    async def between() -> None:
        await database.write(add_users, 1, is_short=is_short)

    assert looks_made(database, between) == 2


@pytest.mark.parametrize("before", [True, False])
def test_what_is_remembered_is_forgotten_after_a_commit_of_another_process_beside_one_s_own(
    database: Database, before: bool
) -> None:
    other = open_database(database.engine.name)

    def others_commit() -> None:
        with other.transaction() as transaction:
            add_users(transaction, [1])

    async def between() -> None:
        if before:
            others_commit()
        await write_all(database, "x-1")
        if not before:
            others_commit()

    assert looks_made(database, between) == 2
    other.close()


def test_a_watch_passes_by_one_commit_alone(database: Database) -> None:
    assert isinstance(database.engine, SQLite)
    with database.snapshot():  # only an open file has a log
        watch = CommitWatch(database.engine.path)

    def commit(kind: str) -> None:
        with database.transaction() as transaction:
            add_kinds(transaction, [kind])

    assert [watch.has_changed(), watch.has_changed()] == [True, False]
    before = watch.header()
    commit("x-1")
    watch.pass_by(before)
    assert not watch.has_changed()
    before = watch.header()
    commit("x-2")
    commit("x-3")
    watch.pass_by(before)
    assert watch.has_changed()
    commit("x-4")
    between = watch.header()
    commit("x-5")
    watch.pass_by(between)
    assert watch.has_changed()
    watch.close()


def test_what_waits_is_finished_before_a_stop_and_what_comes_later_is_refused(database: Database) -> None:
    async def main() -> tuple[list[Any], Any]:
        database.start(1_000)
        waiting = [
            asyncio.ensure_future(database.write(add_kinds, f"x-{at:03}", is_short=at % 3 > 0))
            for at in range(300)
        ]
        await asyncio.sleep(0)
        stopping = asyncio.ensure_future(database.stop())
        await asyncio.sleep(0)
        late = await asyncio.gather(write(database, add_kinds, "y-1"), return_exceptions=True)
        await stopping
        return [await each for each in waiting], late[0]

    done, late = asyncio.run(main())
    assert done == [f"x-{at:03}" for at in range(300)]
    assert isinstance(late, Unavailable)
    with database.snapshot() as snapshot:
        assert kinds_of(snapshot, "x-") == done
