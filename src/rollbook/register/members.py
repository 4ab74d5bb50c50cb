"""Taggings as sets: the contacts of tags and of states of subscription, counted, united and intersected.

A set is one number for each state of subscription and block of 32,000 ids, a bit for each contact. Those of a
tag of 200,000 contacts are 25 kilobytes, and counting what several tags have in common takes microseconds.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import NamedTuple

import orjson
from sqlalchemy import bindparam, delete, select, update

from rollbook.register.one_or_many import OneOrMany
from rollbook.storage import dialects
from rollbook.storage.statements import InsertRows, Statement
from rollbook.storage.tables import contact_tag_members as table
from rollbook.storage.tables import contact_taggings as taggings
from rollbook.storage.tables import contact_tags, contacts
from rollbook.storage.transactions import Snapshot, Transaction

# As many bits as a page of the database holds: a change writes a whole page anyway.
BLOCK = 32_000
BYTES = BLOCK // 8
# So many are kept as a list of two bytes for each, more as a bit for each that there could be.
FEW = 128

# By state of subscription and block, the members.
Set = dict[tuple[int, int], int]


class Place(NamedTuple):
    """A contact among those of a tag, in a state of subscription."""

    site_id: int
    tag_id: int
    subscription: int
    contact_id: int


_of_block = (
    table.c.site_id == bindparam("of_site"),
    table.c.tag_id == bindparam("of_tag"),
    table.c.subscription == bindparam("of_state"),
    table.c.block == bindparam("of_block"),
)
# Read to be changed, which others must wait for.
members_of_block = Statement(select(table.c.members).where(*_of_block).with_for_update())
add_block = InsertRows(
    dialects.insert_or_skip(table, ["site_id", "tag_id", "subscription", "block"]),
    ["site_id", "tag_id", "subscription", "block", "members"],
)
change_block = Statement(update(table).where(*_of_block).values(members=bindparam("members")))
members_of_tags = OneOrMany(
    lambda of_sites: select(table.c.tag_id, table.c.subscription, table.c.block, table.c.members).where(
        of_sites(table.c.site_id),
        dialects.among(table.c.tag_id, bindparam("tag_ids")),
        dialects.among(table.c.subscription, bindparam("states")),
    )
)
delete_of_tag = Statement(
    delete(table).where(table.c.site_id == bindparam("site_id"), table.c.tag_id == bindparam("id"))
)


delete_all = Statement(delete(table))
every_tag = Statement(select(contact_tags.c.site_id, contact_tags.c.id))
tagged = Statement(
    select(contacts.c.subscription, contacts.c.id)
    .join_from(
        taggings,
        contacts,
        (contacts.c.site_id == taggings.c.site_id) & (contacts.c.id == taggings.c.contact_id),
    )
    .where(taggings.c.site_id == bindparam("site_id"), taggings.c.tag_id == bindparam("tag_id"))
)


def count_anew(transaction: Transaction) -> None:
    """Make the sets of all tags anew from their taggings."""
    transaction.run(delete_all)
    for site_id, tag_id in transaction.rows(every_tag):
        blocks: dict[tuple[int, int], int] = {}
        for subscription, contact_id in transaction.rows(tagged, {"site_id": site_id, "tag_id": tag_id}):
            block, at = divmod(contact_id, BLOCK)
            blocks[subscription, block] = blocks.get((subscription, block), 0) | 1 << at
        transaction.insert(
            add_block, [(site_id, tag_id, *place, _packed(members)) for place, members in blocks.items()]
        )


def add(transaction: Transaction, place: Place) -> None:
    """Put a contact among those of a tag."""
    _change(transaction, place, present=True)


def remove(transaction: Transaction, place: Place) -> None:
    """Take a contact from those of a tag."""
    _change(transaction, place, present=False)


def of_tags(
    snapshot: Snapshot, sites: Sequence[int], tag_ids: Sequence[int], states: Iterable[int]
) -> dict[int, Set]:
    """Return the contacts of each of these tags of the sites who are in these states of subscription.

    A register gives each id once: so the sets of tags of several sites have nobody in common.
    """
    found: dict[int, Set] = {each: {} for each in tag_ids}
    asked = {
        "tag_ids": orjson.dumps(list(found)).decode(),
        "states": orjson.dumps(sorted(map(int, states))).decode(),
    }
    for tag_id, subscription, block, members in members_of_tags.rows(snapshot, sites, asked):
        found[tag_id][subscription, block] = _unpacked(members)
    return found


def united(sets: Iterable[Set]) -> Set:
    """Return those who are in any of the sets."""
    union: Set = {}
    for each in sets:
        for key, members in each.items():
            union[key] = union.get(key, 0) | members
    return union


def common(sets: Iterable[Set]) -> Set:
    """Return those who are in all of the sets, of which there must be one."""
    return reduce(lambda one, other: {key: one[key] & other[key] for key in one.keys() & other.keys()}, sets)


def without(some: Set, others: Set) -> Set:
    """Return those of a set who are not in another."""
    return {key: members & ~others.get(key, 0) for key, members in some.items()}


def count(some: Set) -> int:
    """Return how many a set has."""
    return sum(members.bit_count() for members in some.values())


def ids(some: Set) -> Iterator[int]:
    """Return the ids of a set's contacts."""
    for (_, block), members in some.items():
        # The digits from the last, which stands for the first id.
        digits = f"{members:b}"[::-1]
        place = digits.find("1")
        while place >= 0:
            yield block * BLOCK + place
            place = digits.find("1", place + 1)


def _change(transaction: Transaction, place: Place, *, present: bool) -> None:
    site_id, tag_id, subscription, contact_id = place
    block, at = divmod(contact_id, BLOCK)
    which = {"of_site": site_id, "of_tag": tag_id, "of_state": subscription, "of_block": block}
    rows = transaction.rows(members_of_block, which)
    if not rows:
        transaction.insert(add_block, [(site_id, tag_id, subscription, block, b"")])
        rows = transaction.rows(members_of_block, which)
    members, bit = _unpacked(rows[0][0]), 1 << at
    after = members | bit if present else members & ~bit
    transaction.run(change_block, which | {"members": _packed(after)})


def _packed(members: int) -> bytes:
    if members.bit_count() > FEW:
        return members.to_bytes(BYTES, "little")
    places = list(ids({(0, 0): members}))
    return struct.pack(f"<{len(places)}H", *places)


def _unpacked(kept: bytes) -> int:
    if len(kept) == BYTES:
        return int.from_bytes(kept, "little")
    members = bytearray(BYTES)
    for place in struct.unpack(f"<{len(kept) // 2}H", kept):
        members[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(members, "little")
