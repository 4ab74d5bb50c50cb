"""Sites: where contacts belong; made by an operator, read by keys."""

import itertools
import re
from typing import NamedTuple

from sqlalchemy import bindparam, insert, select

from rollbook.jsonapi.reading import ID_LIMIT
from rollbook.jsonapi.resource import Attribute, Filter, Kind, ResourceType
from rollbook.register import text
from rollbook.register.moments import now
from rollbook.register.resource import Resource, plain_record
from rollbook.storage import dialects, tables
from rollbook.storage.statements import InsertRows, Statement
from rollbook.storage.transactions import Snapshot, Transaction

table = tables.sites

TYPE = ResourceType(
    name="sites",
    description="A site: the audience that contacts belong to. Read-only; an operator makes sites.",
    attributes=(
        Attribute("title", description="What people call the site.", example="Harbour Studio"),
        Attribute("subdomain", description="A short name in lower case.", example="harbour"),
        Attribute("created_at", Kind.TIMESTAMP, example="2026-02-03T08:15:00.000Z"),
        Attribute("updated_at", Kind.TIMESTAMP, example="2026-02-03T08:15:00.000Z"),
    ),
    sorts=("title", "subdomain"),
    filters=(
        Filter(
            "title_cont",
            "whose title contains this, in any case",
            values=lambda value, _sites: [text.text_key(value)],
            condition=lambda bound: dialects.contains(table.c.title_key, bound[0]),
            example="harbour",
        ),
        Filter(
            "subdomain_cont",
            "whose subdomain contains this, in any case",
            values=lambda value, _sites: [value.lower()],
            condition=lambda bound: dialects.contains(table.c.subdomain, bound[0]),
            example="harb",
        ),
    ),
    example_id="123",
)

RESOURCE = Resource(
    type=TYPE,
    table=table,
    columns=(
        table.c.id,
        table.c.id.label("site_id"),
        table.c.title,
        table.c.subdomain,
        table.c.created_at,
        table.c.updated_at,
    ),
    record=plain_record(TYPE),
    sort_columns={"title": table.c.title_key, "subdomain": table.c.subdomain},
)


class SiteRefused(ValueError):
    """A site cannot be made so; the message says why."""


class Site(NamedTuple):
    """A site as the command line shows it."""

    id: int
    title: str
    subdomain: str


every_site = Statement(select(table.c.id, table.c.title, table.c.subdomain).order_by(table.c.id))
site_with_subdomain = Statement(select(table.c.id).where(table.c.subdomain == bindparam("subdomain")))
site_with_id = Statement(select(table.c.id).where(table.c.id == bindparam("id")))
add_site = InsertRows(insert(table), ["id", "title", "title_key", "subdomain", "created_at", "updated_at"])
add_count = InsertRows(insert(tables.contact_counts), ["site_id", "contacts"])


def create(
    transaction: Transaction, *, title: str | None, subdomain: str | None, site_id: int | None
) -> Site:
    """Make a site; without an id it gets a new one, without a title or a subdomain a plain one.

    Raises SiteRefused where the id or the subdomain is taken or cannot be used.
    """
    if site_id is None:
        site_id = _free_id(transaction)
    elif not 0 < site_id < ID_LIMIT:
        raise SiteRefused(f"The id {site_id} cannot be used: it must be between 1 and 2^53 - 1.")
    elif transaction.row(site_with_id, {"id": site_id}):
        raise SiteRefused(f"There is a site {site_id} already. `rollbook sites list` shows all.")
    title = title or f"Site {site_id}"
    if subdomain is None:
        subdomain = _free_subdomain(transaction, title, site_id)
    elif not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", subdomain):
        raise SiteRefused(
            f"The subdomain {subdomain!r} cannot be used: it must have 1 to 63 of a-z, 0-9 and -, and "
            "neither begin nor end with -."
        )
    elif transaction.row(site_with_subdomain, {"subdomain": subdomain}):
        raise SiteRefused(f"The subdomain {subdomain!r} is taken. `rollbook sites list` shows all.")
    moment = now()
    transaction.insert(add_site, [(site_id, title, text.text_key(title), subdomain, moment, moment)])
    transaction.insert(add_count, [(site_id, 0)])
    return Site(site_id, title, subdomain)


def everything(snapshot: Snapshot) -> list[Site]:
    """Return all sites, in the order of their ids."""
    return [Site(*row) for row in snapshot.rows(every_site)]


def _free_id(transaction: Transaction) -> int:
    # An id that came from elsewhere may stand in the way of those that we allot.
    while True:
        (site_id,) = transaction.new_ids("sites", 1)
        if not transaction.row(site_with_id, {"id": site_id}):
            return site_id


def _free_subdomain(transaction: Transaction, title: str, site_id: int) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40].strip("-") or f"site-{site_id}"
    for free in itertools.chain(
        (slug, f"{slug}-{site_id}"), map(f"{slug}-{site_id}-{{}}".format, itertools.count(2))
    ):
        if not transaction.row(site_with_subdomain, {"subdomain": free}):
            break
    return free
