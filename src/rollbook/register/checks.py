"""Proves the invariants that no single constraint can say; for `rollbook db check`."""

from sqlalchemy import bindparam, case, exists, func, or_, select

from rollbook.register import consent, days, members
from rollbook.storage import dialects, search_index
from rollbook.storage.statements import Statement
from rollbook.storage.tables import (
    consent_events,
    contact_counts,
    contact_days,
    contact_taggings,
    contact_tags,
    contacts,
    search_backlog,
    sites,
)
from rollbook.storage.transactions import Snapshot

_counted = (
    select(
        contacts.c.site_id,
        func.count().label("contacts"),
        func.sum(case((contacts.c.subscription == 1, 1), else_=0)).label("subscribed"),
        func.sum(case((contacts.c.subscription == 0, 1), else_=0)).label("never_subscribed"),
    )
    .group_by(contacts.c.site_id)
    .subquery()
)
_KINDS = ("contacts", "subscribed", "never_subscribed")
_pairs = [(func.coalesce(contact_counts.c[kind], 0), func.coalesce(_counted.c[kind], 0)) for kind in _KINDS]
wrong_counts = Statement(
    select(sites.c.id, *(column for pair in _pairs for column in pair))
    .select_from(
        sites.outerjoin(contact_counts, contact_counts.c.site_id == sites.c.id).outerjoin(
            _counted, _counted.c.site_id == sites.c.id
        )
    )
    .where(or_(*(kept != counted for kept, counted in _pairs)))
)
_last = (
    select(consent_events.c.event)
    .where(consent_events.c.site_id == contacts.c.site_id, consent_events.c.contact_id == contacts.c.id)
    .order_by(consent_events.c.occurred_at.desc(), consent_events.c.id.desc())
    .limit(1)
    .scalar_subquery()
)
_state = case((_last.is_(None), 0), (_last == "subscribed", 1), else_=2)
against_the_ledger = Statement(
    select(contacts.c.site_id, contacts.c.id, contacts.c.subscription, _state).where(
        contacts.c.subscription != _state
    )
)
unsearchable = Statement(
    select(contacts.c.site_id, contacts.c.id).where(
        ~search_index.is_findable(contacts.c.id, select(search_backlog.c.contact_id))
    )
)
tagged_at_another_age = Statement(
    select(contact_taggings.c.site_id, contact_taggings.c.contact_id).where(
        exists(
            select(contacts.c.id).where(
                contacts.c.site_id == contact_taggings.c.site_id,
                contacts.c.id == contact_taggings.c.contact_id,
                contacts.c.created_at != contact_taggings.c.contact_created_at,
            )
        )
    )
)
_joined = dialects.ids_joined(
    contact_taggings.c.tag_id,
    (contact_taggings.c.site_id == contacts.c.site_id) & (contact_taggings.c.contact_id == contacts.c.id),
)
noted_tags_differ = Statement(
    select(contacts.c.site_id, contacts.c.id).where(
        func.coalesce(contacts.c.tag_ids, "") != func.coalesce(_joined, "")
    )
)
_members = (
    select(func.count())
    .select_from(contact_taggings)
    .where(contact_taggings.c.site_id == contact_tags.c.site_id)
    .where(contact_taggings.c.tag_id == contact_tags.c.id)
    .scalar_subquery()
)
wrong_tag_counts = Statement(
    select(contact_tags.c.site_id, contact_tags.c.id, contact_tags.c.contacts, _members).where(
        contact_tags.c.contacts != _members
    )
)
_ledger = (
    select(
        consent_events.c.site_id,
        consent_events.c.contact_id,
        *(last.label(name) for name, last in zip(days.CONSENT_MOMENTS, consent.LAST_OF_KINDS, strict=True)),
    )
    .group_by(consent_events.c.site_id, consent_events.c.contact_id)
    .subquery()
)
moments_differ = Statement(
    select(contacts.c.site_id, contacts.c.id)
    .select_from(
        contacts.outerjoin(
            _ledger, (_ledger.c.site_id == contacts.c.site_id) & (_ledger.c.contact_id == contacts.c.id)
        )
    )
    .where(or_(*(contacts.c[name].is_distinct_from(_ledger.c[name]) for name in days.CONSENT_MOMENTS)))
)
kept_days = Statement(select(*(contact_days.c[name] for name in ("site_id", "day", *days.TOTALS))))
counted_days = Statement(days.every_day)
every_tag = Statement(select(contact_tags.c.site_id, contact_tags.c.id))
tagged = Statement(
    select(contacts.c.subscription, contacts.c.id)
    .join_from(
        contact_taggings,
        contacts,
        (contacts.c.site_id == contact_taggings.c.site_id) & (contacts.c.id == contact_taggings.c.contact_id),
    )
    .where(
        contact_taggings.c.site_id == bindparam("site_id"), contact_taggings.c.tag_id == bindparam("tag_id")
    )
)
STATES = ("never subscribed", "subscribed", "unsubscribed")


def faults(snapshot: Snapshot) -> list[str]:
    """Return what is wrong with the register, a sentence each; empty when all is well."""
    found = []
    for site_id, *numbers in snapshot.rows(wrong_counts):
        for kind, kept, counted in zip(_KINDS, numbers[::2], numbers[1::2], strict=True):
            if kept != counted:
                found.append(f"counts: site {site_id} has {counted} {kind}, but {kept} are noted")
    in_another_state = set()
    for site_id, contact_id, kept, said in snapshot.rows(against_the_ledger):
        in_another_state.add((site_id, contact_id))
        found.append(
            f"consent: contact {contact_id} of site {site_id} is {STATES[kept]}, but its ledger says "
            f"{STATES[said]}"
        )
    found += [
        f"search: contact {contact_id} of site {site_id} is missing from the index"
        for site_id, contact_id in snapshot.rows(unsearchable)
    ]
    found += [
        f"tags: a tagging of contact {contact_id} of site {site_id} has another age than the contact"
        for site_id, contact_id in snapshot.rows(tagged_at_another_age)
    ]
    found += [
        f"tags: the tags noted for contact {contact_id} of site {site_id} are not those that it has"
        for site_id, contact_id in snapshot.rows(noted_tags_differ)
    ]
    found += [
        f"tags: tag {tag_id} of site {site_id} has {counted} contacts, but {kept} are noted"
        for site_id, tag_id, kept, counted in snapshot.rows(wrong_tag_counts)
    ]
    found += [
        f"consent: the moments noted for contact {contact_id} of site {site_id} are not those of its ledger"
        for site_id, contact_id in snapshot.rows(moments_differ)
        if (site_id, contact_id) not in in_another_state
    ]
    return found + _wrong_days(snapshot) + _wrong_members(snapshot)


def _wrong_days(snapshot: Snapshot) -> list[str]:
    kept, counted = (
        {(site_id, day): numbers for site_id, day, *numbers in snapshot.rows(statement)}
        for statement in (kept_days, counted_days)
    )
    none, found = [0] * len(days.TOTALS), []
    for site_id, day in sorted(kept.keys() | counted.keys()):
        pairs = zip(kept.get((site_id, day), none), counted.get((site_id, day), none), strict=True)
        found += [
            f"counts: site {site_id} has {there} {name} on {day}, but {noted} are noted"
            for name, (noted, there) in zip(days.TOTALS, pairs, strict=True)
            if noted != there
        ]
    return found


def _wrong_members(snapshot: Snapshot) -> list[str]:
    """Compare the sets of each tag with its taggings, a tag at a time."""
    found = []
    for site_id, tag_id in snapshot.rows(every_tag):
        rows = set(snapshot.rows(tagged, {"site_id": site_id, "tag_id": tag_id}))
        kept = members.of_tags(snapshot, site_id, [tag_id])[tag_id]
        noted = {
            (int(state), contact_id)
            for state in consent.Subscription
            for contact_id in members.ids(members.in_states(kept, [state]))
        }
        if noted != rows:
            found.append(f"tags: the set of tag {tag_id} of site {site_id} is not that of its taggings")
    return found
