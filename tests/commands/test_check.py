"""Proves that `rollbook db check` finds each kind of fault on either kind of database, and names it."""

import contextlib
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands.registers import KINDS, Source, copied

from databases import beside, run_sql
from rollbook.register import checks, upkeep
from rollbook.storage.opening import open_database
from rollbook.storage.statements import Statement
from support import run_rollbook

Empty = Callable[[str], str]

FIRST = "(SELECT min(id) FROM {table})"
# What is done to the register, and a part of what is said about it.
DAMAGES = {
    "UPDATE contacts SET email_key = 'other@x.test' WHERE {first}": "keys: the email_key of contacts",
    "UPDATE contacts SET name_key = 'other' WHERE {first}": "keys: the name_key of contacts",
    "UPDATE contacts SET search_keys = NULL WHERE {first}": "keys: the search_keys of contacts",
    "UPDATE contact_tags SET unique_name = 'other' WHERE {first}": "keys: the unique_name of contact_tags",
    "UPDATE contact_tags SET name_key = 'other' WHERE {first}": "keys: the name_key of contact_tags",
    "UPDATE sites SET title_key = 'other' WHERE {first}": "keys: the title_key of sites",
    "UPDATE custom_fields SET title_key = 'other' WHERE {first}": "keys: the title_key of custom_fields",
    "UPDATE contacts SET subscription = 2 WHERE {first}": "is unsubscribed, but its ledger says subscribed",
    "DELETE FROM consent_events": "is subscribed, but its ledger says never subscribed",
    "UPDATE consent_events SET event = 'unsubscribed'": "is subscribed, but its ledger says unsubscribed",
    "DELETE FROM contact_search WHERE {indexed} = (SELECT min(id) FROM contacts)": "is missing from the index",
    "UPDATE contacts SET tag_ids = '7' WHERE {first}": "tags: the tags noted for contact",
    "DELETE FROM contact_taggings": "tags: the tags noted for contact",
    "UPDATE contact_tags SET contacts = 9 WHERE {first}": "contacts, but 9 are noted",
    "UPDATE contact_counts SET subscribed = 99": "subscribed, but 99 are noted",
    "UPDATE contact_taggings SET contact_created_at = 'x'": "has another age than the contact",
    "UPDATE id_leases SET next_id = 5 WHERE kind = 'contact_notes'": "is in use among contact_notes, but the next",
    "DELETE FROM id_leases WHERE kind = 'contacts'": "is in use among contacts, but the next one to be given is 0",
    "DELETE FROM users": "foreign key: ",
    "DELETE FROM contact_tags": "foreign key: ",
    "UPDATE contact_notes SET contact_id = 1": "foreign key: ",
}


@pytest.fixture(scope="module", params=KINDS)
def whole(source: Source, empty: Empty, request: pytest.FixtureRequest) -> str:
    """A whole register, of either kind."""
    target = empty(request.param)
    copied(source.url, target)
    return target


@pytest.fixture
def register(whole: str, tmp_path: Path, postgresql: str) -> str:
    """A register of the test's own, to be damaged."""
    if whole.startswith("sqlite"):
        shutil.copy(whole.removeprefix("sqlite:///"), tmp_path / "register.db")
        return f"sqlite:///{tmp_path}/register.db"
    name, template = f"c_{secrets.token_hex(8)}", whole.rpartition("/")[2]
    run_sql(postgresql, f"CREATE DATABASE {name} TEMPLATE {template}")
    return postgresql.replace("/postgres", f"/{name}")


def damaged(url: str, sql: str) -> None:
    """Do something to a database that it would not allow."""
    first = f"id = {FIRST.format(table=sql.split()[1])}"
    indexed = "rowid" if url.startswith("sqlite") else "contact_id"
    with beside(url) as connection:
        if not url.startswith("sqlite"):
            connection.rows("SET session_replication_role = replica")
        connection.rows(sql.format(first=first, indexed=indexed))


def faults(url: str) -> list[str]:
    with contextlib.closing(open_database(url)) as database:
        found = database.faults()
        with database.snapshot() as snapshot:
            return found + list(checks.faults(snapshot))


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_kind_of_fault_is_found_and_named(register: str, damage: str) -> None:
    damaged(register, damage)
    found = faults(register)
    assert any(DAMAGES[damage] in each for each in found), found


def test_a_whole_register_has_no_faults_and_a_damaged_one_comes_with_what_to_do(register: str) -> None:
    assert faults(register) == []
    damaged(register, "DELETE FROM contact_search")
    damaged(register, "DELETE FROM consent_events")
    done = run_rollbook("db", "check", ROLLBOOK_DATABASE=register)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert f"{len(done.stdout.splitlines())} faults in " in done.stderr
    assert ("-wal" if register.startswith("sqlite") else "pg_dump") in done.stderr
    assert "restore a backup" in done.stderr


def test_two_rows_that_share_what_is_unique_are_found(register: str) -> None:
    damaged(register, "DROP INDEX contacts_external_user_id_once_in_a_site")
    damaged(register, "UPDATE contacts SET external_user_id = 'same'")
    if not register.startswith("sqlite"):
        damaged(register, "ALTER TABLE contacts DROP CONSTRAINT contacts_email_once_in_a_site")
        damaged(register, "UPDATE contacts SET email_key = 'same'")
    found = "\n".join(faults(register))
    assert "has an external_user_id that another contact has" in found
    assert ("has an e-mail that another contact has" in found) != register.startswith("sqlite")


def test_what_is_owed_to_the_search_index_gets_its_keys_with_it(register: str) -> None:
    damaged(register, "INSERT INTO search_backlog SELECT site_id, id FROM contacts")
    damaged(register, "UPDATE contacts SET search_keys = NULL")
    assert faults(register) == []
    with contextlib.closing(open_database(register)) as database:
        upkeep.finish(database)
    damaged(register, "DELETE FROM search_backlog")
    assert faults(register) == []


def test_a_register_of_many_stretches_is_walked_to_its_end(
    register: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged(register, "UPDATE contacts SET name_key = 'other'")
    contacts = run_sql(register, "SELECT count(*) FROM contacts")[0][0]
    for table, statement in checks._ENDS.items():
        monkeypatch.setitem(checks._ENDS, table, fewer(statement))
    assert len(faults(register)) == contacts


def fewer(statement: Statement) -> Statement:
    """Return the question for the end of a stretch of three rows."""
    expression: Any = statement._expression
    return Statement(expression.offset(2))
