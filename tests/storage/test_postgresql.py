"""Proves the promises of storage on PostgreSQL: its schema, and several servers on one database."""

import asyncio
import contextlib
import random
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psycopg
import pytest
from register.house import caller, create, new, stored
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from databases import PostgreSQLServer, beside, empty_url_of, run_sql, url_of
from rollbook.jsonapi.reading import Draft
from rollbook.register import contacts, erasure, sites, upkeep
from rollbook.register.resource import Found
from rollbook.storage import planner_statistics, search_index, tables
from rollbook.storage import postgresql as engine
from rollbook.storage.database import Database
from rollbook.storage.opening import open_database
from support import Client, Reply, RunningServer, SiteWorld, run_rollbook, start_server, wait_until

pytestmark = pytest.mark.postgresql

Serve = Callable[..., RunningServer]
SEED = 20261127
SERIALIZABLE = "?options=-c%20default_transaction_isolation%3Dserializable"
REPEATABLE_READ = "?options=-c%20default_transaction_isolation%3Drepeatable%5C%20read"

# The tables that the engine keeps beside the register's.
OWN_TABLES = (
    "CREATE TABLE remembered_changes (id bigint PRIMARY KEY, number bigint NOT NULL)",
    'CREATE TABLE writers (id text COLLATE "C" PRIMARY KEY, last_write bigint NOT NULL,'
    " wrote_at timestamp with time zone NOT NULL)",
)
CATALOGUE = (
    "SELECT table_name, column_name, ordinal_position, data_type, collation_name, is_nullable, column_default"
    " FROM information_schema.columns WHERE table_schema = 'public'",
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace",
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
)


def catalogue(url: str) -> list[list[tuple[Any, ...]]]:
    """Return what the database says of its tables, constraints and indexes."""
    others = ("alembic_version", "migrating")
    with beside(url) as connection:
        return [sorted(row for row in connection.rows(sql) if row[0] not in others) for sql in CATALOGUE]


def test_the_schema_is_the_sum_of_its_migrations(database: Database, tmp_path: Path) -> None:
    declared = empty_url_of(tmp_path / "declared.db")
    alchemy = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(declared), poolclass=NullPool
    )
    tables.metadata.create_all(alchemy)
    for statement in (*search_index.CREATE["postgresql"], *OWN_TABLES):
        run_sql(declared, statement)
    for migrated, made in zip(catalogue(database.engine.name), catalogue(declared), strict=True):
        assert migrated == made
    kinds = {row[3:5] for row in catalogue(declared)[0] if row[0] != "contact_search" and row[3] == "text"}
    assert kinds == {("text", "C")}, "texts are compared as bytes"


def test_a_writer_that_has_not_written_for_a_week_is_forgotten(database: Database) -> None:
    url = database.engine.name
    insert = "INSERT INTO writers (id, last_write, wrote_at) VALUES (?, 1, CURRENT_TIMESTAMP - CAST(? AS interval))"
    for name, ago in (("old", "8 days"), ("young", "6 days")):
        run_sql(url, insert, name, ago)
    with database.transaction() as transaction:
        transaction.new_ids("contacts", 1)
    names = {row[0] for row in run_sql(url, "SELECT id FROM writers")}
    assert "old" not in names
    assert "young" in names
    assert len(names) == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [("", "read committed"), (SERIALIZABLE, "serializable"), (REPEATABLE_READ, "serializable")],
)
def test_an_isolation_that_proves_nothing_by_itself_is_raised(
    tmp_path: Path, options: str, expected: str
) -> None:
    database = open_database(url_of(tmp_path / "rollbook.db") + options)
    try:
        with database.transaction() as transaction:
            found = transaction._session.rows("SELECT current_setting('transaction_isolation')")
    finally:
        database.close()
    assert found == [(expected,)]


@pytest.mark.parametrize(("options", "cost"), [("", "1.1"), ("?options=-c%20random_page_cost%3D2", "2")])
def test_looking_up_is_reckoned_cheap_unless_an_operator_says_otherwise(
    database: Database, tmp_path: Path, options: str, cost: str
) -> None:
    configured = open_database(url_of(tmp_path / "rollbook.db") + options)
    with contextlib.closing(configured), configured.snapshot() as snapshot:
        assert snapshot._session.rows("SHOW random_page_cost") == [(cost,)]


@pytest.fixture
def other(database: Database) -> Iterator[Database]:
    """The same database, as another process has it."""
    opened = open_database(database.engine.name)
    yield opened
    opened.close()


def until_done_or_waiting(url: str, thread: threading.Thread) -> None:
    """Wait until a thread has ended, or waits in the database for a lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with beside(url) as connection:
        wait_until(lambda: not thread.is_alive() or connection.number(waiting) > 0, 10)


def new_contact(database: Database, **attributes: Any) -> int:
    with database.transaction() as transaction:
        sites.create(transaction, title=None, subdomain=None, site_id=1)
    (answer,) = create(database, new(1, **attributes))
    return stored(answer).id


def tokens_of(database: Database, contact_id: int) -> str:
    rows = run_sql(
        database.engine.name, "SELECT grams::text FROM contact_search WHERE contact_id = ?", contact_id
    )
    return "".join(row[0] for row in rows)


def test_a_contact_that_changes_while_another_server_indexes_it_is_found_by_what_it_is(
    database: Database, other: Database
) -> None:
    contact_id = new_contact(database, name="Before", email="a@x.test")
    found = Found(caller(1), 1, contact_id)
    change = contacts.prepare_change(found, Draft({}, {"name": "Afterwards"}, None, ()))
    thread = threading.Thread(target=lambda: other.do(lambda each: contacts.change_many(each, [change])))
    with database.transaction() as transaction:
        assert upkeep.index_some(transaction) == 1
        thread.start()
        until_done_or_waiting(database.engine.name, thread)
    thread.join(30)
    upkeep.finish(database)
    tokens = tokens_of(database, contact_id)
    assert "aft" in tokens
    assert "bef" not in tokens


def test_nothing_of_one_who_is_erased_while_another_server_indexes_them_stays(
    database: Database, other: Database
) -> None:
    contact_id = new_contact(database, name="Before", email="a@x.test")
    found = Found(caller(1), 1, contact_id)
    thread = threading.Thread(target=lambda: other.do(lambda each: erasure.erase_many(each, [found])))
    with database.transaction() as transaction:
        assert upkeep.index_some(transaction) == 1
        thread.start()
        until_done_or_waiting(database.engine.name, thread)
    thread.join(30)
    assert tokens_of(database, contact_id) == ""
    assert run_sql(database.engine.name, "SELECT id FROM contacts") == []


def test_once_it_is_tidied_up_nothing_waits_to_be_merged_into_the_search_index(database: Database) -> None:
    def pages_merged() -> int:
        with database.transaction() as transaction:
            return int(transaction.run(search_index.merge_pending_list)[0][0])

    new_contact(database, name="Ines Okafor", email="a@x.test")
    upkeep.finish(database)
    assert pages_merged() > 0
    create(database, new(1, email="b@x.test"))
    upkeep.finish(database)
    with database.transaction() as transaction:
        upkeep.UPKEEP.tidy(transaction)
    assert pages_merged() == 0


def pages_known(database: Database) -> int:
    """Return how many pages of contacts, in whatever parts, the planner knows of."""
    sql = "SELECT sum(relpages) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'contacts%'"
    return int(run_sql(database.engine.name, sql)[0][0])


def test_statistics_are_outgrown_where_a_table_has_become_so_many_times_as_large(database: Database) -> None:
    def are_outgrown(times: int) -> bool:
        return database.do(lambda each: planner_statistics.are_outgrown(each, times))

    def fill(batches: range) -> None:
        for batch in batches:
            create(database, *(new(1, email=f"{batch}.{at}@x.test") for at in range(200)))

    new_contact(database, email="a@x.test")
    assert not are_outgrown(2)
    fill(range(4))
    assert are_outgrown(2)
    database.do(planner_statistics.renew)
    assert not are_outgrown(2)
    fill(range(4, 14))
    assert not are_outgrown(8)
    assert are_outgrown(2)
    assert pages_known(database) > 0


def test_a_server_has_statistics_made_while_it_fills_a_database(database: Database) -> None:
    new_contact(database, email="a@x.test")

    async def fill() -> None:
        database.start(2_000, upkeep.UPKEEP)
        try:
            emails = [f"{at}@x.test" for at in range(2_000)]
            await asyncio.gather(
                *(database.write(contacts.create_many, new(1, email=email)) for email in emails)
            )
            await asyncio.to_thread(wait_until, lambda: pages_known(database) > 0, 30)
        finally:
            await database.stop()

    assert pages_known(database) == 0
    asyncio.run(fill())


def test_those_who_are_indexed_next_are_looked_up_one_by_one(database: Database) -> None:
    new_contact(database, email="a@x.test")
    create(database, *(new(1, email=f"{at}@x.test") for at in range(2_000)))
    database.do(planner_statistics.renew)
    sql, _, _ = upkeep.next_keys.statements["postgresql"].compiled(database.engine.dialect)
    plan = "\n".join(row[0] for row in run_sql(database.engine.name, f"EXPLAIN {sql}"))
    assert "Nested Loop" in plan
    assert "Hash" not in plan


def in_threads(works: list[Callable[[], None]]) -> None:
    """Do works at the same time, let go together; raise what one of them raises."""
    raised: list[BaseException] = []
    gate = threading.Barrier(len(works))

    def guarded(work: Callable[[], None]) -> None:
        gate.wait(60)
        try:
            work()
        except BaseException as error:  # told below
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    if raised:
        raise raised[0]


def test_servers_that_begin_at_one_moment_make_one_owner_one_site_and_one_key(tmp_path: Path) -> None:
    path = tmp_path / "rollbook.db"
    url = empty_url_of(path)
    started: list[RunningServer] = []
    in_threads([lambda: started.append(start_server(path)) for _ in range(3)])
    try:
        assert sum("client_secret" in each.greeting for each in started) == 1
        for table in ("users", "sites", "keys"):
            assert run_sql(url, f"SELECT count(*) FROM {table}") == [(1,)]
    finally:
        assert [each.stop() for each in started] == [0, 0, 0]


class Servers:
    """Several servers on one database, and a site in it with a client of each server."""

    def __init__(self, serve: Serve, number: int, options: str = "") -> None:
        self.first = serve()
        environment = {"ROLLBOOK_DATABASE": self.first.database_url + options}
        if options:
            self.first.stop()
        self.every = [serve(**environment) for _ in range(number)]
        self.site: SiteWorld = self.every[0].new_site()

    def clients(self) -> list[Client]:
        """Return a client of each server, for one thread."""
        return [each.client(self.site.token) for each in self.every]

    def assert_whole(self) -> None:
        """Assert that the counts, the ledger and the search index agree with the contacts."""
        url = self.first.database_url
        done = run_rollbook("db", "check", ROLLBOOK_DATABASE=url)
        assert (done.returncode, done.stdout) == (0, f"{url} is whole.\n"), done


def test_what_ends_access_on_one_server_ends_it_on_all_at_the_next_request(serve: Serve) -> None:
    servers = Servers(serve, 2)
    here, there = servers.clients()

    def statuses() -> list[int]:
        return [each.get("/v1/contacts").status for each in (here, there)]

    for _ in range(3):
        assert statuses() == [200, 200]
    url = servers.first.database_url
    assert here.post("/v1/oauth/revoke", {"token": here.token}).status == 200
    assert statuses() == [401, 401]
    for how in ("rotate", "delete"):
        new_site = servers.every[1].new_site()
        here.token = there.token = new_site.token
        for _ in range(3):
            assert statuses() == [200, 200]
        assert run_rollbook("keys", how, new_site.client_id, ROLLBOOK_DATABASE=url).returncode == 0
        assert statuses() == [401, 401]


def test_a_custom_field_of_one_server_is_known_to_all_at_the_next_request(serve: Serve) -> None:
    servers = Servers(serve, 2)
    here, there = servers.clients()
    path = f"/v1/contacts/{servers.site.create(email='a@x.test').json['data']['id']}"
    before = [each.get(path).json["data"]["attributes"] for each in (here, there)]
    site = {"site": {"data": {"type": "sites", "id": servers.site.id}}}
    field = {"type": "custom_fields", "attributes": {"title": "Shoe size"}, "relationships": site}
    for _ in range(4):
        assert here.post("/v1/custom_fields", {"data": field}).status == 201
    after = [each.get(path).json["data"]["attributes"] for each in (here, there)]
    assert before[0] == before[1] != after[0] == after[1]


def test_what_servers_remember_outlives_new_tokens_and_no_token_that_is_ended(serve: Serve) -> None:
    servers = Servers(serve, 1)
    (here,) = servers.clients()
    credentials = {"client_id": servers.site.client_id, "client_secret": servers.site.client_secret}

    def changes() -> int:
        with beside(servers.first.database_url) as connection:
            number: int = connection.rows("SELECT number FROM remembered_changes")[0][0]
        return number

    before = changes()
    pair = here.post("/v1/oauth/token", {"grant_type": "client_credentials", **credentials}).json
    refresh = {"grant_type": "refresh_token", "refresh_token": pair["refresh_token"]}
    assert here.post("/v1/oauth/token", refresh).status == 200
    assert changes() == before
    assert here.post("/v1/oauth/revoke", {"token": pair["access_token"]}).status == 200
    assert changes() == before + 1


def test_a_create_by_a_remembered_caller_is_refused_when_the_key_has_ended_elsewhere(serve: Serve) -> None:
    servers = Servers(serve, 2)
    here, _ = servers.clients()

    def create(email: str) -> Reply:
        return here.post("/v1/contacts", servers.site.document(email=email))

    assert [create(f"{at}@x.test").status for at in range(3)] == [201] * 3
    ended = run_rollbook(
        "keys", "rotate", servers.site.client_id, ROLLBOOK_DATABASE=servers.first.database_url
    )
    assert ended.returncode == 0
    # What would be made, what would be refused by its content, and what is taken: all the same to a stranger.
    assert [create(email).status for email in ("new@x.test", "no address", "0@x.test")] == [401] * 3
    servers.assert_whole()
    with beside(servers.first.database_url) as connection:
        assert connection.rows("SELECT count(*) FROM contacts WHERE email = 'new@x.test'") == [(0,)]


@pytest.mark.parametrize(
    "target", ["/v1/contacts", "/v1/contacts?filter[search]=x", "/v1/contacts/{id}", "/v1/contacts/1"]
)
def test_a_read_by_a_remembered_caller_is_refused_when_the_key_has_ended_elsewhere(
    serve: Serve, target: str
) -> None:
    servers = Servers(serve, 2)
    here, _ = servers.clients()
    path = target.format(id=servers.site.create(email="a@x.test").json["data"]["id"])
    before = [here.get(path).status for _ in range(3)]
    assert before == ([404] if path.endswith("/1") else [200]) * 3
    ended = run_rollbook(
        "keys", "rotate", servers.site.client_id, ROLLBOOK_DATABASE=servers.first.database_url
    )
    assert ended.returncode == 0
    assert here.get(path).status == 401


def test_a_create_by_a_remembered_caller_has_the_fields_that_another_server_has_defined(serve: Serve) -> None:
    servers = Servers(serve, 2)
    here, there = servers.clients()

    def custom_fields_of_create(email: str) -> set[str]:
        made = here.post("/v1/contacts", servers.site.document(email=email)).json["data"]["attributes"]
        return {name for name in made if name.startswith("custom_")}

    site = {"site": {"data": {"type": "sites", "id": servers.site.id}}}
    before = [custom_fields_of_create(f"{at}@x.test") for at in range(3)]
    field = {"type": "custom_fields", "attributes": {"title": "Shoe size"}, "relationships": site}
    # Some are defined in the beginning, and answered once they are more.
    for _ in range(4):
        assert there.post("/v1/custom_fields", {"data": field}).status == 201
    assert before[0] == before[2] < custom_fields_of_create("after@x.test")


@pytest.mark.parametrize("options", ["", SERIALIZABLE], ids=["read committed", "serializable"])
def test_of_creates_of_one_email_on_three_servers_one_wins(serve: Serve, options: str) -> None:
    servers = Servers(serve, 3, options)
    for number in range(10):
        answers: list[Reply] = []
        sent = servers.site.document(email=f"round{number}@x.test", subscribed=True)

        def ask(client: Client, sent: Any = sent, answers: list[Reply] = answers) -> None:
            answers.append(client.post("/v1/contacts", sent))

        clients = [each for _ in range(8) for each in servers.clients()]
        in_threads([lambda client=client: ask(client) for client in clients])  # type: ignore[misc]
        assert Counter(each.status for each in answers) == {201: 1, 422: len(clients) - 1}
        (made,) = [each.json["data"]["id"] for each in answers if each.status == 201]
        existing = [each.json["errors"][0]["meta"]["existing_id"] for each in answers if each.status == 422]
        assert set(existing) == {made}
    servers.assert_whole()


FIELDS = ("address_line_1", "address_city", "phone_number", "custom_1", "name", "address_zip")


@pytest.mark.parametrize("options", ["", SERIALIZABLE], ids=["read committed", "serializable"])
def test_changes_of_different_attributes_on_two_servers_lose_nothing(serve: Serve, options: str) -> None:
    servers = Servers(serve, 2, options)
    path = f"/v1/contacts/{servers.site.create(email='a@x.test').json['data']['id']}"
    last = 12

    def work(at: int) -> None:
        client = servers.clients()[at % 2]
        for number in range(1, last + 1):
            attributes: dict[str, Any] = {FIELDS[at]: f"{number}"}
            if at == 0:
                attributes["subscribed"] = number % 2 == 1
            reply = client.request("PATCH", path, {"data": {"attributes": attributes}})
            assert reply.status == 200, reply
            assert reply.json["data"]["attributes"][FIELDS[at]] == f"{number}"

    in_threads([lambda at=at: work(at) for at in range(len(FIELDS))])  # type: ignore[misc]
    url = servers.first.database_url
    columns = ", ".join(each for each in FIELDS if each != "custom_1")
    (found,) = run_sql(url, f"SELECT {columns}, custom FROM contacts")
    assert found == (*[str(last)] * 5, f'{{"custom_1":"{last}"}}')
    events = run_sql(url, "SELECT event FROM consent_events ORDER BY occurred_at, id")
    assert events == [("subscribed",), ("unsubscribed",)] * (last // 2)
    servers.assert_whole()


@pytest.mark.parametrize("options", ["", SERIALIZABLE], ids=["read committed", "serializable"])
def test_merges_erasures_tags_and_changes_race_without_a_failure(serve: Serve, options: str) -> None:
    print(f"seed: {SEED}")
    servers = Servers(serve, 3, options)
    site = {"site": {"data": {"type": "sites", "id": servers.site.id}}}
    people = [f"{at}@x.test" for at in range(12)]
    ids = [servers.site.create(email=each, subscribed=True).json["data"]["id"] for each in people]
    tags = []
    for name in ("One", "Two", "Three"):
        made = {"type": "contact_tags", "attributes": {"name": name}, "relationships": site}
        tags.append(servers.site.client.post("/v1/contact_tags", {"data": made}).json["data"]["id"])
    statuses: Counter[int] = Counter()

    def act(client: Client, chance: random.Random) -> Reply:
        one, two = chance.sample(ids, 2)
        some = {
            "data": [
                {"type": "contact_tags", "id": each} for each in chance.sample(tags, chance.randint(1, 3))
            ]
        }
        about = {"contact": {"data": {"type": "contacts", "id": one}}}
        note = {"type": "contact_notes", "attributes": {"body": "Noted."}, "relationships": about}
        subscribed = {"data": {"attributes": {"subscribed": chance.random() < 0.5}}}
        kind = chance.randrange(20)
        if kind == 0:
            return client.post(f"/v1/contacts/{one}/merge", {"data": {"type": "contacts", "id": two}})
        if kind == 1:
            return client.post(f"/v1/contacts/{one}/erase")
        if kind == 2:
            return client.request("DELETE", f"/v1/contacts/{one}")
        if kind < 6:
            return client.post("/v1/contact_notes", {"data": note})
        if kind < 12:
            method = chance.choice(["POST", "PATCH", "DELETE"])
            return client.request(method, f"/v1/contacts/{one}/relationships/tags", some)
        if kind < 16:
            return client.request("PATCH", f"/v1/contacts/{one}", subscribed)
        new = servers.site.document(email=chance.choice(people), subscribed=chance.random() < 0.5)
        reply = client.post("/v1/contacts", new)
        if reply.status == 201:
            ids[chance.randrange(len(ids))] = reply.json["data"]["id"]
        return reply

    def work(at: int) -> None:
        client = servers.clients()[at % 3]
        chance = random.Random(f"{SEED} {at}")
        for _ in range(40):
            statuses[act(client, chance).status] += 1

    in_threads([lambda at=at: work(at) for at in range(6)])  # type: ignore[misc]
    assert {each for each in statuses if each >= 500} == set(), statuses
    assert statuses[200] > 0
    assert statuses[201] > 0
    servers.assert_whole()


def test_connections_that_the_database_ends_are_made_anew_and_nobody_notices(serve: Serve) -> None:
    server = serve()
    site = server.new_site()
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid != pg_backend_pid()"
    )
    for number in range(5):
        assert run_sql(server.database_url, end)
        assert site.create(email=f"{number}@x.test").status == 201
        assert run_sql(server.database_url, end)
        assert site.client.get("/v1/contacts").json["meta"]["total"] == number + 1


def test_the_password_of_the_database_is_told_to_nobody(serve: Serve) -> None:
    plain = url_of(serve().database)
    url = plain.replace("rollbook@", "rollbook:open-sesame@")
    assert url != plain
    server = serve(ROLLBOOK_DATABASE=url, ROLLBOOK_LOG_LEVEL="debug")
    site = server.new_site()
    run_sql(plain, "DROP TABLE audit_events")
    assert site.create(email="a@x.test").status == 500
    server.stop()
    written = server.log.read_text() + server.greeting
    assert plain in written
    for command in (["db", "upgrade"], ["db", "check"], ["sites", "list"], ["keys", "list"]):
        done = run_rollbook(*command, ROLLBOOK_DATABASE=url)
        written += done.stdout + done.stderr
    assert "sesame" not in written


class Roles(NamedTuple):
    """The URLs of one database for a role without privileges and for a superuser."""

    ordinary: str
    superuser: str


@pytest.fixture
def roles(postgresql: PostgreSQLServer) -> Iterator[Roles]:
    url, role = postgresql.new_database(), f"r_{secrets.token_hex(8)}"
    run_sql(url, f"CREATE ROLE {role} LOGIN")
    yield Roles(url.replace("rollbook@", f"{role}@"), url)
    run_sql(url, f"DROP ROLE {role}")


def asks_for_checkpoint(url: str) -> bool:
    """Have an erasure end as the role that a URL names; say whether it asks for a checkpoint."""
    with contextlib.closing(open_database(url)) as database:
        database.scrub_now()
        assert isinstance(database.engine, engine.PostgreSQL)
        with database.engine.connect() as connection:
            return engine._may_checkpoint(connection)


def test_an_erasure_asks_for_a_checkpoint_as_who_may(roles: Roles) -> None:
    assert not asks_for_checkpoint(roles.ordinary)
    role = urlsplit(roles.ordinary).username
    run_sql(roles.superuser, f"GRANT pg_checkpoint TO {role}")
    assert asks_for_checkpoint(roles.ordinary)
    assert asks_for_checkpoint(roles.superuser)


def test_where_no_role_is_for_checkpoints_an_erasure_asks_for_one_as_a_superuser_alone(
    roles: Roles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CHECKPOINTERS", "pg_no_role_of_this_release")
    assert not asks_for_checkpoint(roles.ordinary)
    assert asks_for_checkpoint(roles.superuser)


def test_one_who_may_only_read_is_told_so(database: Database) -> None:
    url = database.engine.name
    options = "?options=-c%20default_transaction_read_only%3Don"
    refused = run_rollbook("sites", "create", ROLLBOOK_DATABASE=url + options)
    assert refused.returncode == 1
    assert "cannot be used now" in refused.stderr
    assert "Traceback" not in refused.stderr
