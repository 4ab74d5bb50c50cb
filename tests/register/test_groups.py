"""Proves that what is done to several together is done to each by itself, and in an order that all keep."""

import asyncio
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from register.house import caller, create, new, open_register, stored

from rollbook.jsonapi.errors import Refused
from rollbook.jsonapi.query import read_query
from rollbook.jsonapi.reading import read_new_resource
from rollbook.register import (
    atomic,
    audience,
    consent,
    contacts,
    kept_answers,
    keys,
    tagging,
    tags,
    upkeep,
    upserts,
    users,
)
from rollbook.register.atomic import Asked, Operation, Target
from rollbook.register.catalogue import RESOURCES
from rollbook.register.contacts import ContactChange
from rollbook.register.kept_answers import KeptAnswer, Once
from rollbook.register.resource import Found, PageAsked
from rollbook.register.tagging import Tagging, Verb
from rollbook.register.upserts import OnDuplicate
from rollbook.storage.database import Database
from rollbook.storage.opening import open_database
from rollbook.storage.postgresql import PostgreSQL
from support import wait_until

SITES = (1, 2, 3)
MANY = 60


@pytest.fixture
def register(tmp_path: Path) -> Iterator[Database]:
    database = open_register(tmp_path / "register.db")
    yield database
    database.close()


def change_of(contact_id: int, name: str, *, site_id: int = 1, is_expected: bool = True) -> ContactChange:
    """Return a change of a contact's name, which is as its caller expects, or not."""
    found = Found(caller(site_id), site_id, contact_id, lambda _record: is_expected)
    return ContactChange(found, {"name": name}, None, consent.UNSAID, ())


def waits_for_a_lock(register: Database) -> bool:
    """Say whether a session of the register waits for another."""
    with psycopg.connect(register.engine.name) as connection:
        sql = (
            b"SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(connection.execute(sql).fetchall())


def test_a_change_that_is_refused_does_not_have_the_others_done_again(register: Database) -> None:
    made = [stored(each).id for each in create(register, *(new(email=f"p{at}@x.test") for at in range(MANY)))]
    times: list[int] = []

    def change_many(transaction: Any, items: list[ContactChange]) -> Any:
        times.append(len(items))
        return contacts.change_many(transaction, items)

    async def change_all() -> list[Any]:
        register.start(1_000)
        writes = [
            register.write(change_many, change_of(each, f"n{at}", is_expected=at != MANY // 2))
            for at, each in enumerate(made)
        ]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        await register.stop()
        return outcomes

    outcomes = asyncio.run(change_all())
    assert [at for at, each in enumerate(outcomes) if isinstance(each, Refused)] == [MANY // 2]
    assert sum(times) == MANY


@pytest.mark.parametrize(
    "asked",
    ["", "page[size]=3&sort=name", *(f"filter[{each.name}]={each.example}" for each in audience.FILTERS)],
)
def test_who_asks_the_same_asks_alike_whatever_is_made_of_it(asked: str) -> None:
    of = RESOURCES["contacts"]
    first, second = (
        PageAsked(of, read_query(of.type, asked.encode()), frozenset(SITES), RESOURCES) for _ in range(2)
    )
    assert first == second


@pytest.mark.postgresql
def test_a_portion_whose_places_others_take_while_its_site_is_waited_for_is_not_the_last(
    register: Database,
) -> None:
    create(register, *(new(3, email=f"old{at}@x.test") for at in range(300)))
    url, indexed = register.engine.name, []
    other = open_database(url)
    indexing = threading.Thread(target=lambda: indexed.append(other.do(upkeep.index_some)))
    with psycopg.connect(url) as holder:
        holder.execute("SELECT id FROM sites WHERE id = 3 FOR NO KEY UPDATE")
        indexing.start()
        wait_until(lambda: waits_for_a_lock(register), 20)
        create(register, *(new(1, email=f"new{at}@x.test") for at in range(256)))
    indexing.join()
    other.close()
    assert indexed == [256]


@pytest.mark.postgresql
def test_a_create_does_not_wait_for_a_change_that_waits_for_its_site(register: Database) -> None:
    (made,) = map(stored, create(register, new(1, email="first@x.test")))

    async def work() -> tuple[list[bool], Any]:
        register.start(100)
        with psycopg.connect(register.engine.name) as holder:
            holder.execute("SELECT id FROM sites WHERE id = 1 FOR NO KEY UPDATE")
            change = register.write(contacts.change_many, change_of(made.id, "later"))
            await asyncio.to_thread(wait_until, lambda: waits_for_a_lock(register), 20)
            done = []
            for site_id in (2, 1):
                new_one = new(site_id, email="second@x.test")
                await register.write(contacts.create_many, new_one, is_short=True)
                done.append(change.done())
        changed = await change
        await register.stop()
        return done, changed

    done, changed = asyncio.run(work())
    assert (done, changed.attributes["name"]) == ([False, False], "later")


class Traffic:
    """Writes of all kinds in all sites, by two servers on one database."""

    def __init__(self, register: Database) -> None:
        self.servers = (register, open_database(register.engine.name))
        self.people = {
            site_id: [
                stored(each).id
                for each in create(register, *(new(site_id, email=f"p{at}@x.test") for at in range(20)))
            ]
            for site_id in SITES
        }
        with register.transaction() as transaction:
            users.create_owner(transaction, name="Mira Vance", email="mira@example.test")
            self.key_id = keys.create(transaction, name="one", site_ids=SITES, permissions=()).id
            self.tags = {
                site_id: stored(
                    tags.create_many(transaction, [tags.NewTag(caller(site_id), site_id, "T", ())])[0]
                ).id
                for site_id in SITES
            }

    def create(self, chance: random.Random) -> tuple[Any, Any]:
        subscribed = chance.random() < 0.5
        site_id, email = chance.choice(SITES), f"{chance.randbytes(8).hex()}@x.test"
        return contacts.create_many, new(site_id, email=email, subscribed=subscribed)

    def change(self, chance: random.Random) -> tuple[Any, Any]:
        site_id = chance.choice(SITES)
        change = change_of(chance.choice(self.people[site_id]), "", site_id=site_id)
        return contacts.change_many, change._replace(given={"subscribed": chance.random() < 0.5})

    def tag(self, chance: random.Random) -> tuple[Any, Any]:
        site_id = chance.choice(SITES)
        found = Found(caller(site_id), site_id, chance.choice(self.people[site_id]))
        verb = chance.choice((Verb.ADD, Verb.REMOVE))
        return tagging.write_many, Tagging(found, verb, (self.tags[site_id],))

    def batch(self, chance: random.Random) -> tuple[Any, Any]:
        documents = [
            {"data": {"attributes": {"email": f"p{chance.randrange(20)}@x.test", "subscribed": chance.random() < 0.5},
                      "relationships": {"site": {"data": {"type": "sites", "id": str(site_id)}}}}}
            for site_id in chance.sample(SITES, 2)
        ]  # fmt: skip
        return upserts.do_batches, [
            upserts.read(
                caller(*SITES), each, OnDuplicate.UPDATE, resubscribe=True, by_external_user_id=False
            )
            for each in documents
        ]

    def operations(self, chance: random.Random) -> tuple[Any, Any]:
        asked = []
        for site_id in chance.sample(SITES, 2):
            target = Target("contacts", str(chance.choice(self.people[site_id])))
            data = {"attributes": {"subscribed": chance.random() < 0.5}}
            asked.append(Operation("update", target, data, ""))
        return atomic.perform_many, Asked(caller(*SITES), asked, RESOURCES)

    def retry(self, chance: random.Random) -> tuple[Any, Any]:
        site_id, key = chance.choice(SITES), chance.randbytes(8).hex()
        answer = KeptAnswer(200, (), "{}", "hash")
        draft = read_new_resource(
            contacts.RESOURCE.type,
            {"data": {"attributes": {"email": f"{key}@x.test", "subscribed": True},
                      "relationships": {"site": {"data": {"type": "sites", "id": str(site_id)}}}}},
        )  # fmt: skip
        item = contacts.prepare(caller(site_id), site_id, draft)
        return kept_answers.once_many(contacts.create_many), Once(
            self.key_id, key, item, lambda _outcome: answer
        )

    async def run(self, seed: int, writes: int) -> None:
        """Have sixteen clients write so many times each."""
        for server in self.servers:
            server.start(1_000, upkeep.UPKEEP)

        async def client(number: int) -> None:
            chance = random.Random(f"{seed}-{number}")
            for _ in range(writes):
                kind = chance.choice(
                    (self.create, self.change, self.tag, self.batch, self.operations, self.retry)
                )
                operation, item = kind(chance)
                is_short = kind in (self.create, self.retry)
                await chance.choice(self.servers).write(operation, item, is_short=is_short)

        try:
            for server in self.servers:
                # Ids are leased a thousand at a time, in the order in which they are needed.
                for is_short in (False, True):
                    operation, _ = self.create(random.Random(seed))
                    item = new(1, email=f"{id(server)}-{is_short}@x.test", subscribed=True)
                    await server.write(operation, item, is_short=is_short)
            await asyncio.gather(*map(client, range(16)))
        finally:
            for server in self.servers:
                await server.stop()


@pytest.mark.postgresql
def test_writes_of_all_kinds_by_two_servers_never_wait_for_each_other_in_a_circle(
    register: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Exception] = []
    may_pass = PostgreSQL.may_pass

    def note(engine: PostgreSQL, error: Exception, attempts: int) -> bool:
        failures.append(error)
        return may_pass(engine, error, attempts)

    monkeypatch.setattr(PostgreSQL, "may_pass", note)
    seed = random.randrange(1 << 32)
    print("seed", seed)
    asyncio.run(Traffic(register).run(seed, 30))
    assert [str(each) for each in failures if isinstance(each, psycopg.errors.DeadlockDetected)] == []
