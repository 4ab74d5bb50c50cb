"""A register on a real database for the tests of its rules, and the callers who ask it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from databases import run_sql, url_of
from rollbook.jsonapi.errors import Refused
from rollbook.jsonapi.query import read_query
from rollbook.jsonapi.reading import read_new_resource
from rollbook.jsonapi.resource import Record
from rollbook.jsonapi.writing import Collection
from rollbook.register import contacts, resource, sites
from rollbook.register.callers import PERMISSIONS, Caller
from rollbook.register.catalogue import RESOURCES
from rollbook.storage.database import Database
from rollbook.storage.migrate import bring_up_to_date
from rollbook.storage.opening import open_database

KEY = 77


def open_register(path: Path) -> Database:
    """Open a new register with the sites 1, 2 and 3."""
    database = open_database(url_of(path))
    bring_up_to_date(database)
    with database.transaction() as transaction:
        for number in (1, 2, 3):
            sites.create(transaction, title=None, subdomain=None, site_id=number)
    return database


def caller(*seen: int, permissions: Sequence[str] = PERMISSIONS) -> Caller:
    """Return one who sees these sites, or the first without any."""
    return Caller(KEY, 1, frozenset(seen or (1,)), frozenset(permissions), 0.0)


def new(site_id: int = 1, who: Caller | None = None, **attributes: Any) -> contacts.NewContact:
    """Return a contact as it stands before it is stored, read from the document of a request."""
    document = {
        "data": {
            "attributes": attributes,
            "relationships": {"site": {"data": {"type": "sites", "id": str(site_id)}}},
        }
    }
    draft = read_new_resource(contacts.RESOURCE.type, document)
    return contacts.prepare(who or caller(site_id), site_id, draft)


def create(database: Database, *items: contacts.NewContact) -> list[Record | Refused]:
    """Store contacts in one transaction; return the answer for each."""
    with database.transaction() as transaction:
        return contacts.create_many(transaction, list(items))


def stored(answer: Record | Refused) -> Record:
    """Return the record of an answer that is no refusal."""
    assert isinstance(answer, Record), answer
    return answer


def page(
    database: Database, query: str = "", who: Caller | None = None, of: str = "contacts"
) -> tuple[Collection, int]:
    """Return a page of a collection, and the number of statements that it cost."""
    resource_asked = RESOURCES[of]
    asked = resource.PageAsked(
        resource_asked,
        read_query(resource_asked.type, query.encode()),
        (who or caller(1)).sites,
        RESOURCES,
    )
    with database.snapshot() as snapshot:
        return resource.page(snapshot, asked), snapshot.statements_run


def ask(database: Database, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Run SQL beside the register, on a connection of its own."""
    return run_sql(database.engine.name, sql, *values)
