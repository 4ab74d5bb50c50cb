"""Asks a small and a large register the same questions, in turns, and prints what each costs.

    python benchmarks/flatness.py [--small 10000] [--large 200000] [--rounds 9] [--folder DIR]
                                  [--postgresql postgresql://...small postgresql://...large]

The registers are made by the register's own operations, once, and kept in the folder. Times are those of the
statements and of making records, without HTTP. Some tags and texts have as many hits in both; others have a
share of all, and say how a question grows with its hits. A time is the median of the rounds, and that of the
processor: on a machine that others use, the clock says how busy they are.

With `--postgresql`, the registers are copied into these two databases where they are empty, by
`rollbook db copy`, and asked there. A time is then that of the clock, for the work is another process's.
"""

import argparse
import contextlib
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from rollbook.jsonapi import cursors
from rollbook.jsonapi.query import read_query
from rollbook.jsonapi.reading import read_new_resource
from rollbook.jsonapi.resource import Record
from rollbook.register import beginnings, consent, contacts, days, tagging, tags, upkeep
from rollbook.register.callers import PERMISSIONS, Caller
from rollbook.register.catalogue import RESOURCES
from rollbook.register.contacts import ContactChange
from rollbook.register.resource import Found, PageAsked, page
from rollbook.register.tagging import Tagging, Verb
from rollbook.register.text import text_key
from rollbook.storage.database import Database
from rollbook.storage.engines import Session
from rollbook.storage.migrate import bring_up_to_date
from rollbook.storage.opening import open_database
from rollbook.storage.tables import CONTACT_MOMENTS
from rollbook.storage.transactions import Transaction

SITE = beginnings.FIRST_SITE
CALLER = Caller(1, 1, frozenset([SITE]), frozenset(PERMISSIONS), float("inf"), all_sites=True)
CITIES = ("Porto", "Lisboa", "Braga", "Faro", "Berlin", "Paris", "Roma", "Madrid", "Oslo", "Wien")
AT_ONCE = 1_000
DAYS = 730
FEW = 50
# The tags: fifty members (two of these), every second contact, and one contact in fifty.
FEW_TAG, HALF_TAG, FIRST_SHARE, SHARES = 0, 1, 2, 50
OTHER_FEW_TAG = FIRST_SHARE + SHARES
PAGE = 30
CREATES = 20
CREATE = "a create, without its commit"

# Each sort, include, way to page, and filter of class A. Of what has a share of all contacts as its hits,
# there is one that finds few, too.
ASKS = (
    "",
    "sort=name",
    "sort=-name",
    "sort=email",
    "sort=-email",
    "sort=created_at",
    "include=tags",
    "include=offers",
    "include=site",
    "include=customer",
    "include=tags,site,offers,customer",
    "page[number]=100&page[size]=50",
    "page[number]={last}",
    "sort=name&page[number]={last}",
    "filter[has_tag_id]={half}&page[number]={half_last}",
    "page[after]=",
    "page[after]={middle}",
    "sort=name&page[after]={middle_name}",
    CREATE,
    "filter[site_id]={site}",
    "filter[email]=person777@mail77.test",
    "filter[email_eq]=person777@mail77.test",
    "filter[search]=person777@",
    "filter[search]=777x mail77",
    "filter[name_contains]=unique 777x",
    "filter[email_contains]=person777@",
    "filter[phone_number_contains]=0000000777",
    "filter[mobile_phone_number_contains]=777",
    "filter[address_line_1_contains]=rua 777x",
    "filter[address_line_2_contains]=777",
    "filter[address_city_contains]=rare",
    "filter[address_state_contains]=rare",
    "filter[address_country_contains]=rare",
    "filter[address_zip_contains]=z777x",
    "filter[created_in_last]={few_days}",
    "filter[created_in_last]=365",
    "filter[not_created_in_last]=365",
    "filter[is_hidden]=true",
    "filter[is_hidden]=false",
    "filter[joined_in_last]=30",
    "filter[has_tag_id]={few}",
    "filter[has_tag_id]={share}",
    "filter[has_tag_id]={half}",
    "filter[has_tag_id]={half}&sort=name",
    "filter[has_tag_id]={few},{other_few}",
    "filter[has_tag_id]={few},{share}",
    "filter[has_tag_id]={half},{share}",
    "filter[has_all_tag_id]={few},{half}",
    "filter[has_all_tag_id]={share},{half}",
    "filter[has_no_tag_id]={few}",
    "filter[has_no_tag_id]={half}",
    "filter[has_no_tag_id]={half},{share}",
    "filter[has_tag_id]={half}&filter[subscribed]=true",
    "filter[subscribed]=true",
    "filter[subscribed]=false",
    "filter[never_subscribed]=true",
    "filter[never_subscribed]=false",
    "filter[subscribed_in_last]={few_days}",
    "filter[subscribed_in_last]=365",
    "filter[unsubscribed_in_last]={few_days}",
    "filter[unsubscribed_in_last]=365",
    "filter[manually_unsubscribed_in_last]=365",
    "filter[opted_out_in_last]=365",
    "filter[has_offer_id]=1",
    "filter[has_no_offer_id]=1",
    "filter[has_product_id]=1",
    "filter[has_active_product_id]=1",
    "filter[has_no_product_id]=1",
    "filter[previously_owned_product_id]=1",
    "filter[submitted_form_id]=1",
    "filter[no_submitted_form_id]=1",
    "filter[used_coupon_code]=x",
    # What follows reads the texts of all its hits, which are a share of all contacts.
    "filter[search]=porto silva 77",
    "filter[name_contains]=77",
    "filter[address_city_contains]=porto",
)


class World(NamedTuple):
    """A register of so many contacts, and the clock that its times are of."""

    database: Database
    values: dict[str, object]
    clock: Callable[[], float] = time.process_time


_here: World


class Undone(Exception):
    """What was done shall not stay."""


def main() -> None:
    """Make the registers where they are not there, ask, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "rollbook-flatness")
    parser.add_argument("--postgresql", nargs=2, metavar="URL")
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True)
    urls = given.postgresql or ("", "")
    worlds = [
        apart(given.folder / f"{many}.db", many, given.large, url)
        for many, url in zip((given.small, given.large), urls, strict=True)
    ]
    print(f"| asked | hits | ms at {given.small:,} | ms at {given.large:,} | ratio |")
    print("|---|---|---|---|---|")
    for ask in ASKS:
        times: list[list[float]] = [[], []]
        hits = ["", ""]
        for _ in range(given.rounds + 1):
            for at, each in enumerate(worlds):
                seconds, hits[at] = each.submit(answer_here, ask).result()
                times[at].append(seconds)
        small, large = (statistics.median(each[1:]) * 1_000 for each in times)
        found = hits[0] if hits[0] == hits[1] else " / ".join(hits)
        print(f"| `{ask or 'the first page'}` | {found} | {small:.2f} | {large:.2f} | {large / small:.2f} |")


def apart(path: Path, many: int, largest: int, url: str) -> ProcessPoolExecutor:
    """Return a process that has a register for itself, as a server has, and remembers what it counted."""
    context = multiprocessing.get_context("spawn")
    process = ProcessPoolExecutor(1, context, initializer=open_here, initargs=(path, many, largest, url))
    process.submit(answer_here, "").result()
    return process


def open_here(path: Path, many: int, largest: int, url: str) -> None:
    """Open the register of this process."""
    global _here
    _here = world(path, many, largest)
    if url:
        _here = moved(_here, url)


def answer_here(ask: str) -> tuple[float, str]:
    """Answer a question by the register of this process."""
    return answer(_here, ask)


def answer(world: World, ask: str) -> tuple[float, str]:
    """Answer a question; return the seconds that it took, and the number of hits."""
    if ask == CREATE:
        return create(world), "1"
    query = read_query(contacts.RESOURCE.type, ask.format(**world.values).encode())
    asked = PageAsked(contacts.RESOURCE, query, CALLER.sites, RESOURCES)
    with world.database.snapshot() as snapshot:
        began = world.clock()
        found = page(snapshot, asked)
        seconds = world.clock() - began
    return seconds, "-" if query.page.cursor else f"{found.total:,}"


def create(world: World) -> float:
    """Return the seconds that one of some creates took, none of which is kept."""
    began = world.clock()
    with contextlib.suppress(Undone), world.database.transaction() as transaction:
        for number in range(CREATES):
            draft = read_new_resource(contacts.RESOURCE.type, document(-1 - number, FEW))
            contacts.create_many(transaction, [contacts.prepare(CALLER, SITE, draft)])
        raise Undone
    return (world.clock() - began) / CREATES


def moved(world: World, url: str) -> World:
    """Return the same register in a PostgreSQL database, copied where that is empty."""
    database = open_database(url)
    source = world.database.engine.name
    world.database.close()
    if database.revision() is None:
        subprocess.run([sys.executable, "-m", "rollbook", "db", "copy", source, url], check=True)
    return World(database, world.values, time.perf_counter)


def values_of(database: Database, many: int, largest: int, tag_ids: list[int]) -> dict[str, object]:
    """Return what stands in the questions of a register: its tags, its last page, a cursor in its middle."""

    def middle(sort: str, attribute: str) -> str:
        asked = f"sort={sort}&page[number]={many // PAGE // 2}".encode()
        query = read_query(contacts.RESOURCE.type, asked)
        with database.snapshot() as snapshot:
            found = page(snapshot, PageAsked(contacts.RESOURCE, query, CALLER.sites, RESOURCES))
        last = found.records[-1]
        place = str(last.attributes[attribute])
        return cursors.write(sort, [text_key(place) if attribute == "name" else place, last.id])

    return {
        "site": SITE,
        "few": tag_ids[FEW_TAG],
        "other_few": tag_ids[OTHER_FEW_TAG],
        "half": tag_ids[HALF_TAG],
        "share": tag_ids[FIRST_SHARE + 3],
        # As many contacts in both: in the small register these are more days.
        "few_days": largest // many,
        "last": -(-many // PAGE),
        "half_last": -(-many // 2 // PAGE),
        "middle": middle("-created_at", "created_at"),
        "middle_name": middle("name", "name"),
    }


def world(path: Path, many: int, largest: int) -> World:
    """Return the register in a file, made and filled where it is not there."""
    made = path.with_suffix(".tags")
    database = open_database(f"sqlite:///{path}")
    if not made.exists():
        for old in path.parent.glob(path.name + "*"):
            old.unlink()
        bring_up_to_date(database)
        with database.transaction() as transaction:
            beginnings.begin(transaction, owner_name="Owner", owner_email="owner@example.test")
            new = [tags.NewTag(CALLER, SITE, f"Tag {at}", ()) for at in range(OTHER_FEW_TAG + 1)]
            stored = [each for each in tags.create_many(transaction, new) if isinstance(each, Record)]
        for _ in fill(database, many, [each.id for each in stored]):
            print(".", end="", flush=True)
        print()
        with database.transaction() as transaction:
            days.count_anew(transaction)
        upkeep.finish(database)
        made.write_text(" ".join(str(each.id) for each in stored))
    tag_ids = [int(each) for each in made.read_text().split()]
    return World(database, values_of(database, many, largest, tag_ids))


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
            unsubscribe(transaction, numbers, ids)
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
    if number % (many // FEW) == 1:
        chosen.add(tag_ids[OTHER_FEW_TAG])
    if number % 2:
        chosen.add(tag_ids[HALF_TAG])
    return tuple(sorted(chosen))


def unsubscribe(transaction: Transaction, numbers: range, ids: list[int]) -> None:
    """Unsubscribe some of those who are subscribed, by turns for one cause and for the other."""
    changes = []
    for number, contact_id in zip(numbers, ids, strict=True):
        if number % 15 == 0:
            cause = (consent.ADMINISTRATOR, consent.RECIPIENT)[number % 2]
            circumstances = consent.Circumstances(cause)
            found = Found(CALLER, SITE, contact_id)
            changes.append(ContactChange(found, {"subscribed": False}, None, circumstances, ()))
    contacts.change_many(transaction, changes)


AGED = (
    *(f"UPDATE contacts SET {moment} = ?1 WHERE +{moment} IS NOT NULL AND site_id = ?2 AND id = ?3"
      for moment in CONTACT_MOMENTS),
    "UPDATE contact_taggings SET contact_created_at = ?1 WHERE site_id = ?2 AND contact_id = ?3",
    "UPDATE consent_events SET occurred_at = ?1 WHERE site_id = ?2 AND contact_id = ?3",
)  # fmt: skip


def age(session: Session, numbers: range, ids: list[int], many: int) -> None:
    """Move contacts, and what belongs to them, back in time, spread evenly over two years."""
    now = datetime.now(UTC)
    for number, contact_id in zip(numbers, ids, strict=True):
        moment = now - timedelta(days=DAYS * (many - number) / many)
        stamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for sql in AGED:
            session.order(sql, [stamp, SITE, contact_id])


if __name__ == "__main__":
    main()
