"""Proves the promises of looks on PostgreSQL: what they answer, what they leave to a transaction, where they stay out."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from storage.leases import add_users, every_user, leases

from databases import beside, run_sql, url_of
from rollbook.storage import postgresql
from rollbook.storage.database import Database
from rollbook.storage.faults import Unavailable
from rollbook.storage.opening import open_database
from rollbook.storage.reading_together import answer_together
from rollbook.storage.statements import Statement
from rollbook.storage.transactions import Look, Outdated, Snapshot
from rollbook.storage.workers import Job

pytestmark = pytest.mark.postgresql

Operation = Callable[[Snapshot, None], Any]
STRICT = "?options=-c%20default_transaction_isolation%3D"


class Reader:
    """What a thread that reads has: a session and a memory. Here it is known which jobs it takes together."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine
        self.session = database.engine.open_reader()
        self.memory: dict[tuple[Any, Any], Any] = {}

    def looks(self, *operations: Operation, as_of: Sequence[int | None] = ()) -> list[Any]:
        """Do operations together, each as a look; return their outcomes."""
        numbers = as_of or [None] * len(operations)

        async def main() -> list[Any]:
            loop, now = asyncio.get_running_loop(), time.monotonic()
            jobs = [
                Job(operation, None, loop.create_future(), now, is_look=True, as_of=number)
                for operation, number in zip(operations, numbers, strict=True)
            ]
            return list(answer_together(self._engine, self.session, self.memory, jobs))

        return asyncio.run(main())


class Count:
    """Counts rows, by so many statements; notes each time what it was asked of."""

    def __init__(self, rows: Statement = every_user, statements: int = 1) -> None:
        self._rows = rows
        self._statements = statements
        self.asked_of: list[type[Snapshot]] = []

    def __call__(self, snapshot: Snapshot, _none: None) -> list[int]:
        self.asked_of.append(type(snapshot))
        return [len(snapshot.rows(self._rows)) for _ in range(self._statements)]


class CountBesideMemory(Count):
    """Counts users after it has recalled how many there were; what happens `meanwhile` happens once."""

    def __init__(self, *meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self._meanwhile = list(meanwhile)

    def __call__(self, snapshot: Snapshot, _none: None) -> list[int]:
        known = snapshot.remembered(count_users, None)
        while self._meanwhile:
            self._meanwhile.pop()()
        return [known, *super().__call__(snapshot, None)]


def count_users(snapshot: Snapshot, _none: None) -> int:
    return len(snapshot.rows(every_user))


def ready(database: Database) -> Reader:
    """Return a reader that has looked before: the first number of changes that one hears of proves nothing."""
    reader = Reader(database)
    assert reader.looks(Count()) == [[0]]
    return reader


def add_user(database: Database, user_id: int) -> None:
    database.do(lambda transaction: add_users(transaction, [user_id]))


@pytest.fixture
def reader(database: Database) -> Iterator[Reader]:
    made = ready(database)
    with contextlib.closing(made.session):
        yield made


@pytest.fixture
def elsewhere(database: Database) -> Iterator[Database]:
    """The same database, as another server has it."""
    with contextlib.closing(open_database(database.engine.name)) as opened:
        yield opened


@pytest.mark.parametrize("is_first", [True, False])
def test_what_a_look_has_answered_is_not_asked_again_where_another_question_asks_more(
    reader: Reader, is_first: bool
) -> None:
    one, more = Count(), Count(statements=2)
    if is_first:
        assert reader.looks(one, more) == [[0], [0, 0]]
    else:
        assert reader.looks(more, one) == [[0, 0], [0]]
    assert (one.asked_of, more.asked_of) == ([Look], [Look, Snapshot])


def test_what_a_look_has_answered_outlives_the_failure_of_one_that_asked_more(reader: Reader) -> None:
    def fails_in_the_end(snapshot: Snapshot, _none: None) -> None:
        Count(statements=2)(snapshot, None)
        raise ValueError("broken")

    one = Count()
    answer, broken = reader.looks(one, fails_in_the_end)
    assert (answer, type(broken)) == ([0], ValueError)
    assert one.asked_of == [Look]


def test_a_look_that_fails_once_patience_is_over_is_not_done_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A statement may take longer than anybody has patience for, as by default.
    monkeypatch.setattr(postgresql, "LIMITS", (("statement_timeout", 500),))
    monkeypatch.setattr(postgresql, "PATIENCE_SECONDS", 0.25)
    before, stuck, after = Count(leases), Count(), Count(leases)
    with contextlib.closing(open_database(database.engine.name)) as hasty:
        reader = ready(hasty)
        with beside(database.engine.name) as connection:
            connection.rows("BEGIN")
            connection.rows("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            outcomes = reader.looks(before, stuck, after)
        reader.session.close()
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3
    assert "statement timeout" in str(outcomes[1])
    # What was not asked yet is not asked any more, for its turn has come too late as well.
    assert [each.asked_of for each in (before, stuck, after)] == [[Look], [Look], []]


def test_a_look_that_fails_while_there_is_patience_is_answered_by_a_transaction(
    database: Database, reader: Reader
) -> None:
    end = (
        "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid != pg_backend_pid()"
    )
    count = Count()

    def loses_its_connection(snapshot: Snapshot, _none: None) -> list[int]:
        if isinstance(snapshot, Look):
            run_sql(database.engine.name, end)
        return count(snapshot, None)

    assert reader.looks(loses_its_connection) == [[0]]
    assert count.asked_of[0] is Look
    # The connections that the pool has may all be lost, and each is found out by an attempt.
    assert set(count.asked_of[1:]) == {Snapshot}


def test_a_look_that_fails_for_good_takes_none_of_the_others_with_it(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It needs none: to do it again is to find out which of them it was.
    monkeypatch.setattr(postgresql, "PATIENCE_SECONDS", 0.0)

    def broken(snapshot: Snapshot, _none: None) -> None:
        snapshot._session.rows("SELECT number FROM remembered_changes WHERE id = $1", ["no number"])

    first, error, last = reader.looks(Count(), broken, Count())
    assert (first, last) == ([0], [0])
    assert isinstance(error, psycopg.DataError)


@pytest.mark.parametrize(
    ("options", "prepares", "is_transaction"),
    [
        ("", True, False),
        (STRICT + "repeatable%5C%20read", True, True),
        (STRICT + "serializable", True, True),
        ("", False, True),
    ],
    ids=["read committed", "repeatable read", "serializable", "pooler"],
)
def test_a_look_is_a_transaction_where_a_statement_by_itself_would_have_no_limits_or_be_isolated_strictly(
    tmp_path: Path, options: str, prepares: bool, is_transaction: bool
) -> None:
    found: list[Any] = []

    def how(snapshot: Snapshot, _none: None) -> None:
        names = ("transaction_isolation", "transaction_read_only", "lock_timeout", "statement_timeout")
        asked = ", ".join(f"current_setting('{name}')" for name in names)
        found.append((type(snapshot), *snapshot._session.rows("SELECT " + asked)[0]))

    url = url_of(tmp_path / "rollbook.db") + options
    with contextlib.closing(open_database(url, prepares=prepares)) as database:
        reader = ready(database)
        reader.looks(how)
        reader.session.close()
    isolated = ("repeatable read", "on") if is_transaction else ("read committed", "off")
    assert found == [(Look, *isolated, "5s", "1min")]


def test_a_look_by_what_another_server_has_changed_forgets_it_and_is_answered_by_a_transaction(
    reader: Reader, elsewhere: Database
) -> None:
    count = CountBesideMemory()
    assert [reader.looks(count) for _ in range(2)] == [[[0, 0]]] * 2
    reader.memory["of", "something else"] = "outdated"
    add_user(elsewhere, 1)
    count.asked_of.clear()
    assert reader.looks(count) == [[1, 1]]
    assert count.asked_of == [Look, Snapshot]
    assert reader.memory == {(count_users, None): 1}
    # And what it has looked up there is good for looks again.
    assert reader.looks(count) == [[1, 1]]
    assert count.asked_of == [Look, Snapshot, Look]


def test_a_look_that_another_server_overtakes_is_answered_of_one_state(
    reader: Reader, elsewhere: Database
) -> None:
    assert reader.looks(CountBesideMemory()) == [[0, 0]]
    overtaken = CountBesideMemory(lambda: add_user(elsewhere, 1))
    assert reader.looks(overtaken) == [[1, 1]]
    assert overtaken.asked_of == [Look, Snapshot]


def test_a_number_of_changes_that_was_heard_before_a_look_s_statement_does_not_prove_what_it_went_by(
    reader: Reader, elsewhere: Database
) -> None:
    assert reader.looks(CountBesideMemory()) == [[0, 0]]
    overtaken = CountBesideMemory(lambda: add_user(elsewhere, 1))

    def hears_the_number_first(snapshot: Snapshot, _none: None) -> list[int]:
        assert snapshot.changes
        return overtaken(snapshot, None)

    assert reader.looks(hears_the_number_first) == [[1, 1]]
    assert overtaken.asked_of == [Look, Snapshot]


def test_all_who_looked_together_are_answered_anew_where_what_is_remembered_has_changed(
    reader: Reader, elsewhere: Database
) -> None:
    by_memory, by_itself = CountBesideMemory(), Count()
    reader.looks(by_memory)
    add_user(elsewhere, 1)
    assert reader.looks(by_itself, by_memory) == [[1], [1, 1]]
    assert by_itself.asked_of == [Look, Snapshot]


def test_a_look_as_of_another_number_of_changes_is_outdated_and_takes_none_of_the_others_with_it(
    reader: Reader, elsewhere: Database
) -> None:
    before = reader.session.changes
    add_user(elsewhere, 1)
    # The reader hears of the change by another question.
    assert reader.looks(Count()) == [[1]]
    of_old, of_new, of_any = Count(), Count(), Count()
    outcomes = reader.looks(of_old, of_new, of_any, as_of=[before, before + 1, None])
    assert [type(outcome) for outcome in outcomes] == [Outdated, list, list]
    assert [each.asked_of for each in (of_old, of_new, of_any)] == [[Look]] * 3


def test_a_look_as_of_a_number_that_another_server_has_just_raised_is_outdated(
    reader: Reader, elsewhere: Database
) -> None:
    before = reader.session.changes
    add_user(elsewhere, 1)
    outcomes = reader.looks(Count(), Count(), as_of=[before, before + 1])
    assert [type(outcome) for outcome in outcomes] == [Outdated, list]


def test_a_look_stays_outdated_where_another_question_asks_more(reader: Reader) -> None:
    now = reader.session.changes
    one, more, outdated_more = Count(), Count(statements=2), Count(statements=3)
    outcomes = reader.looks(one, more, outdated_more, as_of=[now - 1, now, now - 1])
    assert [type(outcome) for outcome in outcomes] == [Outdated, list, Outdated]
    assert one.asked_of == [Look]
