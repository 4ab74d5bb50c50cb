"""Erasure and export: all that is held about a person, to be told or to be gone."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson
from sqlalchemy import bindparam, select, update

from rollbook.jsonapi.errors import Problem, Refusal, Refused, error_document
from rollbook.jsonapi.query import Page, read_query
from rollbook.jsonapi.resource import Record, ResourceType
from rollbook.register import audit, consent, contacts, kept_answers, merging, notes, tags
from rollbook.register.consent import Subscription
from rollbook.register.moments import now
from rollbook.register.one_by_one import one_by_one
from rollbook.register.resource import Found, PageAsked, Resource, missing, page, stored
from rollbook.storage.statements import Statement
from rollbook.storage.tables import contact_tombstones as tombstones
from rollbook.storage.transactions import Snapshot, Transaction

ERASE_PERMISSIONS = (contacts.EDIT, notes.EDIT)
EXPORT_PERMISSIONS = (contacts.VIEW, tags.VIEW, notes.VIEW, audit.VIEW)
EVERYTHING = Page(1, 1 << 31)
NOT_FOUND = orjson.dumps(error_document([Problem(Refusal.NOT_FOUND)], "")).decode()

merged_into = Statement(
    select(tombstones.c.id).where(
        tombstones.c.site_id == bindparam("site_id"), tombstones.c.survivor_id == bindparam("id")
    )
)
unscrubbed = Statement(select(tombstones.c.site_id, tombstones.c.id).where(tombstones.c.scrubbed == 0))
mark_scrubbed = Statement(
    update(tombstones)
    .where(tombstones.c.site_id == bindparam("of_site"), tombstones.c.id == bindparam("of_id"))
    .values(scrubbed=1)
)

Compound = Sequence[tuple[ResourceType, Sequence[Record]]]


def erase_many(transaction: Transaction, items: list[Found]) -> list[Refused | None]:
    """Delete people with everything that the register holds about them; only their ids stay.

    What the deleted rows leave in the file's free places is gone after `Database.scrub`.
    """
    return one_by_one(transaction, items, lambda found: found.site_id, _erase)


def unfinished(snapshot: Snapshot, _all: None = None) -> Sequence[tuple[int, int]]:
    """Return those who were erased and whose bytes may still be in the files, as (site, id)."""
    return [(row[0], row[1]) for row in snapshot.rows(unscrubbed)]


def finish_many(transaction: Transaction, items: list[Sequence[tuple[int, int]]]) -> list[None]:
    """Note that the files hold nothing of people: those who were unfinished before a `Database.scrub`."""
    for site_id, contact_id in itertools.chain(*items):
        transaction.run(mark_scrubbed, {"of_site": site_id, "of_id": contact_id})
    return [None] * len(items)


class Everything(NamedTuple):
    """All that is held about a person: the contact, what belongs to it, and what none of these shows."""

    record: Record
    compound: Compound
    mobile_phone_number: str | None
    merged_ids: Sequence[str]


def everything_about(snapshot: Snapshot, found: Found, catalogue: Mapping[str, Resource]) -> Everything:
    """Return all that is held about a contact, those that were merged into it included.

    Raises Refused where the contact is gone.
    """
    record = contacts.read(snapshot, found)
    values = contacts.values_of(snapshot, found.site_id, found.id) or {}
    rows = snapshot.rows(merged_into, {"site_id": found.site_id, "id": found.id})
    former = [str(each) for each in sorted(row[0] for row in rows)]
    site = stored(snapshot, catalogue["sites"], found.site_id, found.site_id)
    linked = [stored(snapshot, tags.RESOURCE, found.site_id, each) for each in _tags(record)]

    def about(resource: Resource, name: str, contact_id: str) -> Sequence[Record]:
        query = read_query(resource.type, f"filter[{name}]={contact_id}".encode())
        asked = PageAsked(resource, query._replace(page=EVERYTHING), frozenset([found.site_id]), catalogue)
        return page(snapshot, asked).records

    own_id = str(found.id)
    events = itertools.chain(*(about(audit.RESOURCE, "resource_id", each) for each in (own_id, *former)))
    # Ids are leased in blocks, and do not tell what came first.
    newest_first = sorted(events, key=lambda event: (event.attributes["occurred_at"], event.id), reverse=True)
    compound = [
        (catalogue["sites"].type, [site] if site else []),
        (tags.TYPE, [each for each in linked if each]),
        (notes.TYPE, about(notes.RESOURCE, "contact_id", own_id)),
        (consent.TYPE, about(consent.RESOURCE, "contact_id", own_id)),
        (audit.TYPE, newest_first),
    ]
    return Everything(record, compound, values.get("mobile_phone_number"), former)


def _erase(transaction: Transaction, found: Found) -> Refused | None:
    values = contacts.values_of(transaction, found.site_id, found.id)
    if values is None:
        return missing(transaction, contacts.RESOURCE, found.caller, str(found.id))
    contacts.read(transaction, found)
    contacts.delete_with_all(transaction, found.site_id, found.id, Subscription(values["subscription"]))
    moment = now()
    former = transaction.rows(merged_into, {"site_id": found.site_id, "id": found.id})
    known_as = (found.id, *(row[0] for row in former))
    kept_answers.forget(transaction, known_as, found.site_id, values["email"], NOT_FOUND)
    transaction.insert(merging.add_tombstone, [(found.site_id, found.id, None, 0, moment)])
    transaction.run(
        merging.follow_survivor, {"of_site": found.site_id, "other_id": found.id, "new_survivor": None}
    )
    audit.record(
        transaction, contacts.RESOURCE.type.name, "erase", [(found.site_id, found.id, found.caller)], moment
    )
    return None


def _tags(record: Record) -> Sequence[int]:
    linked = record.linkage["tags"]
    return linked if isinstance(linked, Sequence) else ()
