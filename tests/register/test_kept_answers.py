"""Proves that kept answers end in time, for every API key, in portions, and whether or not anybody writes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from register.house import ask
from storage.leases import served

from rollbook.api.retries import end_in_time
from rollbook.observations import Observation, StorageUnavailable
from rollbook.register import kept_answers, keys, users
from rollbook.register.kept_answers import FORGOTTEN_AT_ONCE, KEPT_SECONDS, KeptAnswer, Once
from rollbook.register.moments import now
from rollbook.storage.database import Database
from rollbook.storage.transactions import Transaction

ANSWER = KeptAnswer(201, [], "{}", "hash of the request")
MINUTE = 60


@pytest.fixture
def key_ids(database: Database) -> list[int]:
    """Two API keys."""
    with database.transaction() as transaction:
        users.create_owner(transaction, name="Mira Vance", email="mira@example.test")
        return [
            keys.create(transaction, name=name, site_ids=[1], permissions=()).id for name in ("one", "two")
        ]


def keep(database: Database, key_id: int, *names: str, age: float = 0) -> None:
    """Keep answers of this age, in seconds."""
    rows = [(key_id, name, "", 201, "[]", "{}", now(-age)) for name in names]
    with database.transaction() as transaction:
        transaction.insert(kept_answers.add_answer, rows)


def names_kept(database: Database) -> list[str]:
    """Return the idempotency keys of the answers that are there."""
    sql = "SELECT idempotency_key FROM kept_answers ORDER BY idempotency_key"
    return [name for (name,) in ask(database, sql)]


@contextlib.asynccontextmanager
async def ending(database: Database) -> AsyncIterator[list[Observation]]:
    """Have answers ended time and again; what is observed of it is in the list."""
    observed: list[Observation] = []
    task = asyncio.create_task(end_in_time(database, observed.append, every=0))
    yield observed
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def come_true(holds: Callable[[], bool]) -> None:
    """Wait for a condition, while others have their turn."""
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0)


def test_old_answers_of_every_api_key_are_deleted_and_young_ones_stay(
    database: Database, key_ids: list[int]
) -> None:
    for key_id in key_ids:
        many = [f"old {number} of {key_id}" for number in range(2 * FORGOTTEN_AT_ONCE + 1)]
        keep(database, key_id, *many, age=KEPT_SECONDS + MINUTE)
        keep(database, key_id, f"young of {key_id}", age=KEPT_SECONDS - MINUTE)
    young = sorted(f"young of {key_id}" for key_id in key_ids)

    async def work() -> list[Observation]:
        async with ending(database) as observed:
            await come_true(lambda: names_kept(database) == young)
        return observed

    assert served(database, work) == []


def test_an_answer_that_grows_old_is_deleted_though_nobody_writes(
    database: Database, key_ids: list[int]
) -> None:
    keep(database, key_ids[0], "old", age=KEPT_SECONDS + MINUTE)
    keep(database, key_ids[0], "later")

    async def work() -> None:
        async with ending(database):
            await come_true(lambda: names_kept(database) == ["later"])
            ask(database, "UPDATE kept_answers SET created_at = ?", now(-KEPT_SECONDS - MINUTE))
            await come_true(lambda: names_kept(database) == [])

    served(database, work)


def test_a_database_that_is_not_there_for_a_while_is_told_of_and_asked_again(
    database: Database, key_ids: list[int]
) -> None:
    keep(database, key_ids[0], "old", age=KEPT_SECONDS + MINUTE)

    async def work() -> list[Observation]:
        async with ending(database) as observed:
            await come_true(lambda: bool(observed))
            database.start(100)
            await come_true(lambda: names_kept(database) == [])
        await database.stop()
        return observed

    assert set(asyncio.run(work())) == {StorageUnavailable("kept answers", "Unavailable", "")}


def test_a_transaction_deletes_a_portion_and_says_whether_there_may_be_more(
    database: Database, key_ids: list[int]
) -> None:
    names = [f"{number:03}" for number in range(FORGOTTEN_AT_ONCE + 1)]
    keep(database, key_ids[0], *names, age=KEPT_SECONDS + MINUTE)
    with database.snapshot() as snapshot:
        assert kept_answers.keys_of_old(snapshot) == key_ids[:1]
    for left, is_more in ((1, True), (0, False)):
        with database.transaction() as transaction:
            assert kept_answers.forget_old_many(transaction, key_ids[:1]) == [is_more]
        assert len(names_kept(database)) == left
    with database.snapshot() as snapshot:
        assert kept_answers.keys_of_old(snapshot) == []


def test_an_old_answer_that_is_still_there_gives_way_to_a_new_one(
    database: Database, key_ids: list[int]
) -> None:
    keep(database, key_ids[0], "name", age=KEPT_SECONDS + MINUTE)

    def nothing(_transaction: Transaction, items: list[Any]) -> list[Any]:
        return items

    once = Once(key_ids[0], "name", None, lambda _outcome: ANSWER)
    with database.transaction() as transaction:
        assert kept_answers.once_many(nothing)(transaction, [once]) == [ANSWER]
    with database.snapshot() as snapshot:
        assert kept_answers.find(snapshot, (key_ids[0], "name")) == ANSWER
