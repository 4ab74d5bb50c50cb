"""Proves the invariants that no single constraint can say; for `rollbook db check`."""

from sqlalchemy import exists, func, select

from rollbook.storage.statements import Statement
from rollbook.storage.tables import consent_events, contact_counts, contacts, sites
from rollbook.storage.transactions import Snapshot

_counted = select(contacts.c.site_id, func.count().label("contacts")).group_by(contacts.c.site_id).subquery()
wrong_counts = Statement(
    select(sites.c.id, func.coalesce(contact_counts.c.contacts, 0), func.coalesce(_counted.c.contacts, 0))
    .select_from(
        sites.outerjoin(contact_counts, contact_counts.c.site_id == sites.c.id).outerjoin(
            _counted, _counted.c.site_id == sites.c.id
        )
    )
    .where(func.coalesce(contact_counts.c.contacts, 0) != func.coalesce(_counted.c.contacts, 0))
)
subscribed_without_event = Statement(
    select(contacts.c.site_id, contacts.c.id).where(
        contacts.c.subscribed == 1,
        ~exists(
            select(consent_events.c.id).where(
                consent_events.c.site_id == contacts.c.site_id, consent_events.c.contact_id == contacts.c.id
            )
        ),
    )
)


def faults(snapshot: Snapshot) -> list[str]:
    """Return what is wrong with the register, a sentence each; empty when all is well."""
    found = [
        f"counts: site {site_id} has {counted} contacts, but {kept} are noted"
        for site_id, kept, counted in snapshot.rows(wrong_counts)
    ]
    found += [
        f"consent: contact {contact_id} of site {site_id} is subscribed without a consent event"
        for site_id, contact_id in snapshot.rows(subscribed_without_event)
    ]
    return found
