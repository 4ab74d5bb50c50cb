"""What is known of whom filters mean before a contact is looked at: how many, and whom where they are few."""

import math
from collections.abc import Sequence

import orjson
from sqlalchemy import bindparam, func, select

from rollbook.register import days, members
from rollbook.register.audience import (
    count_states,
    count_tagged,
    counts_tagged,
    distinct_contacts,
    total,
)
from rollbook.register.consent import Subscription
from rollbook.register.resource import Asked, Known
from rollbook.storage import dialects
from rollbook.storage.statements import Statement
from rollbook.storage.tables import contact_taggings as taggings
from rollbook.storage.transactions import Snapshot

# The filters that sets answer, alone and together.
OF_TAGS = ("has_tag_id", "has_all_tag_id", "has_no_tag_id")
OF_LEDGER = {moment.replace("_at", "_in_last"): moment for moment in days.CONSENT_MOMENTS}
OF_STATES = ("subscribed", "never_subscribed")
MOST_SETS = 64
MOST_IDS = 5_000
# So many taggings are looked up one by one before the sets of a large tag would have been read.
FEW_TAGGED = 250

_other = taggings.alias("other")
# A subquery of one value is looked up for each row; a planner might rather read all of the largest tag.
_has_largest = (
    select(_other.c.tag_id)
    .where(_other.c.site_id == taggings.c.site_id, _other.c.contact_id == taggings.c.contact_id)
    .where(_other.c.tag_id == bindparam("largest"))
    .scalar_subquery()
)
count_beyond = Statement(
    select(func.count(distinct_contacts)).where(
        taggings.c.site_id == bindparam("site_id"),
        dialects.among(taggings.c.tag_id, bindparam("tag_ids")),
        _has_largest.is_(None),
    )
)


def known(snapshot: Snapshot, asked: Asked) -> Known | None:
    """Return what is known of whom filters mean, or None."""
    for name, alternatives in asked.filters:
        if name in OF_LEDGER and len(alternatives) == 1:
            return _known_by_ledger(snapshot, asked, OF_LEDGER[name], alternatives[0][0])
    return _known_by_tags(snapshot, asked)


def _known_by_ledger(snapshot: Snapshot, asked: Asked, moment: str, since: str) -> Known | None:
    """Return what the ledger knows of its filter: how many it finds, and whom if they are few."""
    many = days.since(snapshot, asked.sites, moment, since)
    of_all = many if len(asked.filters) == 1 else None
    if many > _most_known(snapshot, asked):
        return None if of_all is None else Known(of_all)
    return Known(of_all, sorted(days.contacts_since(snapshot, asked.sites, moment, since)))


def _most_known(snapshot: Snapshot, asked: Asked, passed: int | None = None) -> int:
    """Return how many ids are worth knowing, where a walk to a full page passes so many, or everybody."""
    passed = total(snapshot, asked.sites) if passed is None else passed
    return min(MOST_IDS, math.isqrt(passed * asked.size))


def _known_by_tags(snapshot: Snapshot, asked: Asked) -> Known | None:
    """Return what the sets know of filters by tags and by states of subscription, or None for others.

    Of very many tags, sets would be much to read.
    """
    of_tags, states = [], set(Subscription)
    for name, alternatives in asked.filters:
        if len(alternatives) != 1 or name not in (*OF_TAGS, *OF_STATES):
            return None
        if name in OF_STATES:
            states &= set(map(Subscription, alternatives[0]))
        else:
            of_tags.append((name, alternatives[0]))
    tag_ids = {each for _, values in of_tags for each in values}
    has_index = asked.in_default_order and len(asked.sites) == 1
    if not tag_ids or len(tag_ids) > MOST_SETS:
        return None
    if len(asked.filters) == 1:
        name, values = of_tags[0]
        if has_index and _leads(snapshot, asked, name, values):
            return None
        if name == "has_tag_id" and len(asked.sites) == 1:
            counted = _many_of_any(snapshot, asked.sites[0], values)
            if counted is not None and (has_index or counted > _most_known(snapshot, asked)):
                return Known(counted)
    sets = members.of_tags(snapshot, asked.sites, sorted(tag_ids), states)
    found = _found(sets, of_tags)
    many = members.count(found)
    if all(name == "has_no_tag_id" for name, _ in of_tags):
        return Known(count_states(snapshot, asked.sites, sorted(states)) - many)
    if has_index and [name for name, _ in of_tags] == ["has_tag_id"] and len(asked.filters) == 1:
        return Known(many)
    if many > MOST_IDS:
        # Whoever is passed by need not be counted.
        return Known(many)
    passed = _passed(sets, of_tags) if has_index else None
    if many > _most_known(snapshot, asked, passed):
        return Known(many)
    return Known(many, sorted(members.ids(found)))


def _leads(snapshot: Snapshot, asked: Asked, name: str, tag_ids: Sequence[int]) -> bool:
    """Say whether the index of the first tag leads to all, in their order, by way of few others."""
    if len(tag_ids) == 1:
        return True
    # Of those who have all of them, the first has the fewest.
    return name == "has_all_tag_id" and count_tagged(snapshot, asked.sites, tag_ids[:1]) <= FEW_TAGGED


def _many_of_any(snapshot: Snapshot, site_id: int, tag_ids: Sequence[int]) -> int | None:
    """Return how many contacts have any of these tags, or None where more than one tag has many."""
    many = counts_tagged(snapshot, (site_id,), tag_ids)
    *others, largest = sorted(tag_ids, key=lambda tag_id: many.get(tag_id, 0))
    if sum(many.get(each, 0) for each in others) > FEW_TAGGED:
        return None
    beyond = 0
    if others:
        asked = {"site_id": site_id, "tag_ids": orjson.dumps(others).decode(), "largest": largest}
        beyond = snapshot.rows(count_beyond, asked)[0][0]
    return many.get(largest, 0) + beyond


def _found(sets: dict[int, members.Set], of_tags: Sequence[tuple[str, Sequence[int]]]) -> members.Set:
    """Return the contacts that filters by tags find, of the sets of these.

    Filters that only leave some out, without others, return those whom they leave out.
    """
    found: list[members.Set] = []
    left_out: list[members.Set] = []
    for name, values in of_tags:
        of_values = [sets[each] for each in values]
        if name == "has_no_tag_id":
            left_out += of_values
        else:
            found.append((members.united if name == "has_tag_id" else members.common)(of_values))
    if not found:
        return members.united(left_out)
    common = members.common(found)
    return members.without(common, members.united(left_out)) if left_out else common


def _passed(sets: dict[int, members.Set], of_tags: Sequence[tuple[str, Sequence[int]]]) -> int:
    """Return how many the indexes of the narrowest filter by tags lead to, whoever else passes."""
    leading = []
    for name, values in of_tags:
        if name != "has_no_tag_id":
            of_values = [members.count(sets[each]) for each in values]
            leading.append(sum(of_values) if name == "has_tag_id" else min(of_values))
    return min(leading)
