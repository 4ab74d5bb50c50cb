"""Merging: two contacts who are one person become one, and nothing of either is lost."""

from typing import Any, NamedTuple

import orjson
from sqlalchemy import bindparam, insert, select, update

from rollbook.jsonapi.errors import Refusal, Refused, refuse
from rollbook.jsonapi.resource import Record
from rollbook.register import audit, consent, contacts, notes, tags
from rollbook.register.consent import Subscription
from rollbook.register.contact_type import custom_document
from rollbook.register.moments import now
from rollbook.register.one_by_one import one_by_one
from rollbook.register.resource import Found
from rollbook.storage.statements import InsertRows, Statement
from rollbook.storage.tables import contact_notes, contact_tombstones
from rollbook.storage.transactions import Transaction

PERMISSIONS = (contacts.EDIT, notes.EDIT)
# What the survivor always keeps; of everything else it takes what it lacks.
KEPT = ("name", "email", "subscription", "created_at", "updated_at", "search_keys", "tag_ids")


class Merge(NamedTuple):
    """The contact that survives, and the id of the other."""

    survivor: Found
    other_id: int


move_notes = Statement(
    update(contact_notes)
    .where(
        contact_notes.c.site_id == bindparam("of_site"), contact_notes.c.contact_id == bindparam("other_id")
    )
    .values(contact_id=bindparam("survivor_id"))
)
add_tombstone = InsertRows(
    insert(contact_tombstones), ["site_id", "id", "survivor_id", "scrubbed", "created_at"]
)
follow_survivor = Statement(
    update(contact_tombstones)
    .where(
        contact_tombstones.c.site_id == bindparam("of_site"),
        # By the index of survivors; a plain condition would look at all tombstones of the site.
        contact_tombstones.c.id.in_(
            select(contact_tombstones.c.id).where(
                contact_tombstones.c.site_id == bindparam("of_site"),
                contact_tombstones.c.survivor_id == bindparam("other_id"),
            )
        ),
    )
    .values(survivor_id=bindparam("new_survivor"))
)


def merge_many(transaction: Transaction, items: list[Merge]) -> list[Record | Refused]:
    """Dissolve contacts in others of their sites, by the rule that the documentation states."""
    return one_by_one(transaction, items, lambda merge: merge.survivor.site_id, _merge)


def _merge(transaction: Transaction, merge: Merge) -> Record | Refused:
    found, other_id = merge.survivor, merge.other_id
    site_id = found.site_id
    before = contacts.values_of(transaction, site_id, found.id)
    other = contacts.values_of(transaction, site_id, other_id)
    if before is None or other is None:
        return refuse(Refusal.NOT_FOUND)
    contacts.read(transaction, found)
    moment = now()
    both = {
        *tags.of_contact(transaction, site_id, found.id),
        *tags.of_contact(transaction, site_id, other_id),
    }
    transaction.run(move_notes, {"of_site": site_id, "other_id": other_id, "survivor_id": found.id})
    consent.move(transaction, site_id, other_id, found.id)
    contacts.delete_with_all(transaction, site_id, other_id, Subscription(other["subscription"]))
    after = _united(before, other) | {"subscription": int(consent.last_word(transaction, site_id, found.id))}
    contacts.store(transaction, site_id, found.id, before, after, moment)
    states = Subscription(before["subscription"]), Subscription(after["subscription"])
    contacts.recount(transaction, site_id, found.id, *states)
    tags.replace(transaction, site_id, found.id, before["created_at"], states[1], sorted(both))
    transaction.run(follow_survivor, {"of_site": site_id, "other_id": other_id, "new_survivor": found.id})
    transaction.insert(add_tombstone, [(site_id, other_id, found.id, 1, moment)])
    done = [(site_id, each, found.caller) for each in (found.id, other_id)]
    audit.record(transaction, contacts.RESOURCE.type.name, "merge", done, moment)
    return contacts.read(transaction, found._replace(if_match=None))


def _united(before: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return the values of the survivor: its own, and those of the other where it has none."""
    united = {name: value if name in KEPT else _fuller(value, other[name]) for name, value in before.items()}
    mine, theirs = orjson.loads(before["custom"]), orjson.loads(other["custom"])
    custom = {name: _fuller(mine.get(name), theirs.get(name)) for name in theirs | mine}
    return united | {"custom": custom_document(custom)}


def _fuller(value: Any, other: Any) -> Any:
    """Return what a contact has, or what the other has where it lacks that; an empty text is lost to none."""
    return value or other or (other if value is None else value)
