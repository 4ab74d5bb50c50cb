"""Proves the invariants that no single constraint can say; for `rollbook db check`."""

from sqlalchemy import case, exists, func, or_, select

from rollbook.storage import dialects, search_index
from rollbook.storage.statements import Statement
from rollbook.storage.tables import (
    consent_events,
    contact_counts,
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
STATES = ("never subscribed", "subscribed", "unsubscribed")


def faults(snapshot: Snapshot) -> list[str]:
    """Return what is wrong with the register, a sentence each; empty when all is well."""
    found = []
    for site_id, *numbers in snapshot.rows(wrong_counts):
        for kind, kept, counted in zip(_KINDS, numbers[::2], numbers[1::2], strict=True):
            if kept != counted:
                found.append(f"counts: site {site_id} has {counted} {kind}, but {kept} are noted")
    for site_id, contact_id, kept, said in snapshot.rows(against_the_ledger):
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
    return found
