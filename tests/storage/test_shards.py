"""Proves that the register works on tables in parts by the site, and through a pooler of transactions."""

import contextlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from databases import POSTGRESQL, on_postgresql, run_sql, url_of
from partitions import PARTITIONS, made_by_migrations, partitioned
from pooler import MISSING, PROGRAM, SESSIONS, Pooler
from rollbook.storage.migrate import bring_up_to_date
from rollbook.storage.opening import open_database
from subset import OF_SITES
from support import RunningServer, run_rollbook, start_server

needs_postgresql = pytest.mark.skipif(not on_postgresql(), reason="needs --database postgresql")
needs_pooler = pytest.mark.skipif(PROGRAM is None, reason=MISSING)
WRITERS, WRITES = 8, 12


@pytest.fixture
def in_parts() -> Iterator[str]:
    """A database whose tables of sites are in parts; returns its URL."""
    with psycopg.connect(os.environ[POSTGRESQL], autocommit=True) as connection:
        connection.execute("CREATE DATABASE in_parts")
    url = os.environ[POSTGRESQL].replace("/postgres", "/in_parts")
    try:
        with made_by_migrations(), contextlib.closing(open_database(url)) as database:
            bring_up_to_date(database)
        yield url
    finally:
        with psycopg.connect(os.environ[POSTGRESQL], autocommit=True) as connection:
            connection.execute("DROP DATABASE in_parts WITH (FORCE)")


@pytest.fixture
def pooled(tmp_path: Path) -> Iterator[str]:
    """A database through a pooler; returns its URL there."""
    pooler = Pooler(os.environ[POSTGRESQL])
    name = url_of(tmp_path / "rollbook.db").rpartition("/")[2]
    yield pooler.url.replace("/postgres", f"/{name}")
    pooler.remove()


def test_only_tables_of_sites_are_made_in_parts() -> None:
    assert partitioned("CREATE TABLE users (id BIGINT)") == "CREATE TABLE users (id BIGINT)"
    assert partitioned("CREATE INDEX a ON contacts (site_id)") == "CREATE INDEX a ON contacts (site_id)"
    made = partitioned("CREATE TABLE a (\n    site_id BIGINT NOT NULL,\n    PRIMARY KEY (site_id)\n)").split(
        "; "
    )
    assert made[0].endswith(") PARTITION BY HASH (site_id)")
    assert made[-1] == "CREATE TABLE a_of_3 PARTITION OF a FOR VALUES WITH (MODULUS 4, REMAINDER 3)"


@needs_postgresql
def test_every_table_of_sites_is_in_parts_with_its_indexes_and_references(in_parts: str) -> None:
    rows = run_sql(in_parts, "SELECT relname FROM pg_class WHERE relkind = 'p'")
    assert {name for (name,) in rows} == OF_SITES
    whole = url_of(Path("whole.db"))
    kinds = "SELECT contype, count(*) FROM pg_constraint WHERE conparentid = 0 AND contype IN ('p', 'u', 'f') GROUP BY 1"
    of_whole, of_parts = dict(run_sql(whole, kinds)), dict(run_sql(in_parts, kinds))
    assert of_parts["f"] == of_whole["f"]
    assert of_parts["u"] == of_whole["u"]


@needs_postgresql
def test_what_asks_for_one_site_is_asked_of_one_part(in_parts: str) -> None:
    def parts_of(condition: str) -> set[str]:
        plan = run_sql(in_parts, f"EXPLAIN SELECT id FROM contacts WHERE {condition}")
        return set(re.findall(r"contacts_of_\d", str(plan)))

    assert len(parts_of("site_id = 123 AND email_key = 'a@example.test'")) == 1
    assert len(parts_of("email_key = 'a@example.test'")) == PARTITIONS


@needs_postgresql
@needs_pooler
def test_two_servers_write_and_read_through_a_pooler_of_transactions(pooled: str, tmp_path: Path) -> None:
    url = pooled
    settings = {"ROLLBOOK_DATABASE": url, "ROLLBOOK_PREPARED_STATEMENTS": "off"}
    servers = [start_server(tmp_path / "rollbook.db", **settings) for _ in range(2)]
    try:
        sent = _write_at_once(servers)
        listed = [server.client(sent.token).get("/v1/contacts?page[size]=1000").json for server in servers]
        assert {each["attributes"]["email"] for each in listed[0]["data"]} == sent.emails
        assert [each["id"] for each in listed[0]["data"]] == [each["id"] for each in listed[1]["data"]]
        found = servers[1].client(sent.token).get("/v1/contacts?filter[name_contains]=writer+3").json["data"]
        assert len(found) == WRITES
        of_database = "SELECT count(*) FROM pg_stat_activity WHERE datname = ?"
        # The session's pooler, where there is one, has its own.
        assert run_sql(os.environ[POSTGRESQL], of_database, url.rpartition("/")[2])[0][0] <= 2 * SESSIONS
    finally:
        codes = [server.stop() for server in servers]
    assert codes == [0, 0]
    assert run_rollbook("db", "check", **settings).returncode == 0


class Sent:
    """What was written: the token that it was written with, and the e-mails of those who were answered."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.emails: set[str] = set()


def _write_at_once(servers: list[RunningServer]) -> Sent:
    """Create contacts by many clients of each server at once; change each, and look at it on the other."""
    site = servers[0].new_site()
    sent = Sent(site.token)

    def work(writer: int) -> set[str]:
        clients = [server.client(site.token) for server in servers]
        here, there = clients[writer % 2], clients[1 - writer % 2]
        emails = set()
        for number in range(WRITES):
            email = f"{writer}.{number}@example.test"
            made = here.post("/v1/contacts", site.document(name=f"Writer {writer}", email=email))
            assert made.status == 201, made
            path = f"/v1/contacts/{made.json['data']['id']}"
            change = {"data": {"attributes": {"address_city": email}}}
            assert there.request("PATCH", path, change).status == 200
            assert here.get(path).json["data"]["attributes"]["address_city"] == email
            emails.add(email)
        return emails

    with ThreadPoolExecutor(WRITERS) as pool:
        for emails in pool.map(work, range(WRITERS)):
            sent.emails |= emails
    return sent


@needs_postgresql
def test_the_url_may_ask_for_the_strictest_isolation(tmp_path: Path) -> None:
    name = url_of(tmp_path / "rollbook.db").rpartition("/")[2]
    url = os.environ[POSTGRESQL].replace("/postgres", f"/{name}")
    url += "?options=-c%20default_transaction_isolation%3Dserializable"
    with contextlib.closing(open_database(url)) as database, database.transaction() as transaction:
        found = transaction._session.rows("SHOW transaction_isolation")
    assert found == [("serializable",)]
