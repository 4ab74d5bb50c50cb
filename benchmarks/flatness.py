"""Asks a small and a large register the same questions, in turns, and prints what each costs.

    python benchmarks/flatness.py [--small 10000] [--large 200000] [--rounds 9] [--folder DIR]

The registers are made by the register's own operations, once, and kept in the folder. Times are those of the
statements and of making records, without HTTP. Some tags and texts have as many hits in both; others have a
share of all, and say how a question grows with its hits.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from rollbook.jsonapi.query import read_query
from rollbook.jsonapi.reading import read_new_resource
from rollbook.jsonapi.resource import Record
from rollbook.register import beginnings, contacts, tagging, tags, upkeep
from rollbook.register.callers import PERMISSIONS, Caller
from rollbook.register.catalogue import RESOURCES
from rollbook.register.resource import Found, PageAsked, page
from rollbook.register.tagging import Tagging, Verb
from rollbook.storage.database import Database, open_database
from rollbook.storage.engines import Session
from rollbook.storage.migrate import bring_up_to_date

SITE = beginnings.FIRST_SITE
CALLER = Caller(1, 1, frozenset([SITE]), frozenset(PERMISSIONS), float("inf"), all_sites=True)
CITIES = ("Porto", "Lisboa", "Braga", "Faro", "Berlin", "Paris", "Roma", "Madrid", "Oslo", "Wien")
AT_ONCE = 1_000
DAYS = 730
FEW = 50
# The tags: fifty members, every second contact, and one contact in fifty.
FEW_TAG, HALF_TAG, FIRST_SHARE, SHARES = 0, 1, 2, 50

ASKS = (
    "",
    "sort=name",
    "sort=-name",
    "sort=email",
    "sort=-email",
    "include=tags",
    "include=tags,site,offers,customer",
    "page[number]=100&page[size]=50",
    "page[after]=",
    "sort=name&page[after]=",
    "filter[email]=person777@mail77.test",
    "filter[email_contains]=person777@",
    "filter[name_contains]=unique 777",
    "filter[search]=unique777x mail",
    "filter[phone_number_contains]=0000777",
    "filter[address_line_1_contains]=rua 777x",
    "filter[address_city_contains]=rare",
    "filter[address_zip_contains]=z777x",
    "filter[created_in_last]={few_days}",
    "filter[has_tag_id]={few}",
    "filter[has_tag_id]={half}",
    "filter[has_tag_id]={share}",
    "filter[has_tag_id]={half}&sort=name",
    "filter[has_all_tag_id]={few},{half}",
    "filter[has_no_tag_id]={few}",
    "filter[has_no_tag_id]={half}",
    "filter[subscribed]=true",
    "filter[subscribed]=false",
    "filter[subscribed]=true&sort=name",
    "filter[never_subscribed]=true",
    "filter[never_subscribed]=false",
    "filter[subscribed_in_last]={few_days}",
    "filter[unsubscribed_in_last]=30",
    "filter[opted_out_in_last]=365",
    "filter[is_hidden]=true",
    "filter[is_hidden]=false",
    "filter[has_offer_id]=1",
    "filter[has_no_offer_id]=1",
    "filter[used_coupon_code]=x",
    # What follows has a share of all contacts as its hits.
    "filter[created_in_last]=365",
    "filter[not_created_in_last]=365",
    "filter[subscribed_in_last]=365",
    "filter[has_tag_id]={few},{share}",
    "filter[has_all_tag_id]={share},{half}",
    "filter[has_no_tag_id]={half},{share}",
    "filter[has_tag_id]={half}&filter[subscribed]=true",
    "filter[address_city_contains]=porto",
)


class World(NamedTuple):
    """A register of so many contacts."""

    many: int
    database: Database
    tags: list[int]


def main() -> None:
    """Make the registers where they are not there, ask, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "rollbook-flatness")
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True)
    worlds = [world(given.folder / f"{many}.db", many) for many in (given.small, given.large)]
    print(f"| asked | hits | ms at {given.small:,} | ms at {given.large:,} | ratio |")
    print("|---|---|---|---|---|")
    for ask in ASKS:
        times: list[list[float]] = [[], []]
        hits = ["", ""]
        for _ in range(given.rounds + 1):
            for at, each in enumerate(worlds):
                seconds, hits[at] = answer(each, ask)
                times[at].append(seconds)
        small, large = (statistics.median(each[1:]) * 1_000 for each in times)
        found = hits[0] if hits[0] == hits[1] else " / ".join(hits)
        print(f"| `{ask or 'the first page'}` | {found} | {small:.2f} | {large:.2f} | {large / small:.2f} |")


def answer(world: World, ask: str) -> tuple[float, str]:
    """Answer a question; return the seconds that it took, and the number of hits."""
    values = {
        "few": world.tags[FEW_TAG],
        "half": world.tags[HALF_TAG],
        "share": world.tags[FIRST_SHARE + 3],
        # As many contacts in both: in the small register these are more days.
        "few_days": max(1, DAYS * FEW // world.many),
    }
    query = read_query(contacts.RESOURCE.type, ask.format(**values).encode())
    asked = PageAsked(contacts.RESOURCE, query, CALLER.sites, RESOURCES)
    with world.database.snapshot() as snapshot:
        began = time.perf_counter()
        found = page(snapshot, asked)
        seconds = time.perf_counter() - began
    return seconds, "-" if query.page.cursor else f"{found.total:,}"


def world(path: Path, many: int) -> World:
    """Return the register in a file, made and filled where it is not there."""
    made = path.with_suffix(".tags")
    database = open_database(f"sqlite:///{path}")
    if not made.exists():
        for old in path.parent.glob(path.name + "*"):
            old.unlink()
        bring_up_to_date(database)
        with database.transaction() as transaction:
            beginnings.begin(transaction, owner_name="Owner", owner_email="owner@example.test")
            new = [tags.NewTag(CALLER, SITE, f"Tag {at}", ()) for at in range(FIRST_SHARE + SHARES)]
            stored = [each for each in tags.create_many(transaction, new) if isinstance(each, Record)]
        for _ in fill(database, many, [each.id for each in stored]):
            print(".", end="", flush=True)
        print()
        upkeep.finish(database)
        made.write_text(" ".join(str(each.id) for each in stored))
    return World(many, database, [int(each) for each in made.read_text().split()])


def fill(database: Database, many: int, tag_ids: list[int]) -> Iterator[None]:
    """Create contacts with their tags, a thousand in a transaction, and spread their ages."""
    first = 0
    for start in range(0, many, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, many))
        with database.transaction() as transaction:
            drafts = [read_new_resource(contacts.RESOURCE.type, document(number, many)) for number in numbers]
            prepared = [contacts.prepare(CALLER, SITE, draft) for draft in drafts]
            stored = contacts.create_many(transaction, prepared)
            ids = [each.id for each in stored if isinstance(each, Record)]
            first = first or ids[0]
            taggings = [
                Tagging(Found(CALLER, SITE, contact_id), Verb.ADD, tags_of(number, many, tag_ids))
                for number, contact_id in zip(numbers, ids, strict=True)
            ]
            tagging.write_many(transaction, taggings)
            age(transaction._session, numbers, ids, many)
        yield


def document(number: int, many: int) -> dict[str, object]:
    """Return the document of one contact; a few texts occur fifty times, whatever the number of all."""
    rare = number % (many // FEW) == 0
    attributes = {
        "name": f"Unique {number}x Silva",
        "email": f"person{number}@mail{number % 100}.test",
        "phone_number": f"+351 {number:010d}",
        "address_line_1": f"Rua {number}x",
        "address_city": "Rarely" if rare else CITIES[number % len(CITIES)],
        "address_zip": f"Z{number}x",
        "subscribed": number % 3 == 0,
    }
    site = {"site": {"data": {"type": "sites", "id": str(SITE)}}}
    return {"data": {"attributes": attributes, "relationships": site}}


def tags_of(number: int, many: int, tag_ids: list[int]) -> tuple[int, ...]:
    """Return the tags of one contact."""
    chosen = {tag_ids[FIRST_SHARE + number % SHARES]}
    if number % (many // FEW) == 0:
        chosen.add(tag_ids[FEW_TAG])
    if number % 2:
        chosen.add(tag_ids[HALF_TAG])
    return tuple(sorted(chosen))


def age(session: Session, numbers: range, ids: list[int], many: int) -> None:
    """Move contacts, and what belongs to them, back in time, spread evenly over two years."""
    now = datetime.now(UTC)
    for number, contact_id in zip(numbers, ids, strict=True):
        moment = now - timedelta(days=DAYS * (many - number) / many)
        stamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for table, column, key in (
            ("contacts", "created_at", "id"),
            ("contact_taggings", "contact_created_at", "contact_id"),
            ("consent_events", "occurred_at", "contact_id"),
        ):
            sql = f"UPDATE {table} SET {column} = ? WHERE site_id = ? AND {key} = ?"
            session.order(sql, [stamp, SITE, contact_id])


if __name__ == "__main__":
    main()
