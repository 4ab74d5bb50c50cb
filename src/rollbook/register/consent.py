"""Consent: the ledger of who subscribed and unsubscribed, when, how, and by which key and person."""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from sqlalchemy import bindparam, case, delete, func, insert, select, update

from rollbook.jsonapi.errors import Problem, Refusal, label
from rollbook.jsonapi.resource import Attribute, Filter, Kind, Record, Relationship, ResourceType
from rollbook.register import days
from rollbook.register.audit import ids_asked
from rollbook.register.callers import Caller
from rollbook.register.days import CONSENT_MOMENTS, EVENTS
from rollbook.register.moments import just_after
from rollbook.register.resource import SITE_FILTER, Resource, each_by
from rollbook.storage.statements import InsertRows, Row, Statement
from rollbook.storage.tables import CONTACT_MOMENTS, contacts
from rollbook.storage.tables import consent_events as table
from rollbook.storage.transactions import Snapshot, Transaction

SUBSCRIBED, UNSUBSCRIBED = days.SUBSCRIBED, days.UNSUBSCRIBED
ADMINISTRATOR, RECIPIENT = days.ADMINISTRATOR, days.RECIPIENT


class Subscription(IntEnum):
    """What the last consent event of a contact says."""

    NEVER = 0
    SUBSCRIBED = 1
    UNSUBSCRIBED = 2


class Circumstances(NamedTuple):
    """How consent was given or withdrawn, as far as a caller says."""

    cause: str = ADMINISTRATOR
    source: str = "api"
    wording: str | None = None
    ip_address: str | None = None


UNSAID = Circumstances()


class Event(NamedTuple):
    """A change of a contact's subscription."""

    site_id: int
    contact_id: int
    subscribed: bool
    caller: Caller
    circumstances: Circumstances = UNSAID


TYPE = ResourceType(
    name="consent_events",
    description="One change of a contact's subscription. The ledger only grows.",
    attributes=(
        Attribute("event", choices=(SUBSCRIBED, UNSUBSCRIBED), example=SUBSCRIBED),
        Attribute(
            "cause",
            choices=(ADMINISTRATOR, RECIPIENT),
            description="Who wanted it: the site's administrator, or the person.",
            example=RECIPIENT,
        ),
        Attribute("source", description="Where it was said; `api` unless told.", example="footer form"),
        Attribute("wording", nullable=True, description="The words agreed to.", example="Yes, send me news."),
        Attribute("ip_address", nullable=True, example="203.0.113.9"),
        Attribute("key_id", description="The API key that told.", example="2300500001"),
        Attribute("user_id", description="The user that the key belongs to.", example="2300000001"),
        Attribute("occurred_at", Kind.TIMESTAMP, example="2026-05-01T10:00:00.000Z"),
    ),
    relationships=(Relationship("contact", "contacts"),),
    sorts=("occurred_at",),
    default_sort="occurred_at",
    filters=(
        SITE_FILTER,
        Filter(
            "contact_id",
            "of the contact with this id",
            values=ids_asked,
            condition=lambda bound: table.c.contact_id == bound[0],
            example="2301000456",
        ),
    ),
    example_id="2600000000001",
    extension=True,
)

add_event = InsertRows(
    insert(table),
    [
        *("site_id", "id", "contact_id", "event", "cause", "source", "wording", "ip_address"),
        *("key_id", "user_id", "occurred_at"),
    ],
)
MOMENTS_OF = {
    (SUBSCRIBED, ADMINISTRATOR): ("subscribed_at",),
    (SUBSCRIBED, RECIPIENT): ("subscribed_at",),
    (UNSUBSCRIBED, ADMINISTRATOR): ("unsubscribed_at", "manually_unsubscribed_at"),
    (UNSUBSCRIBED, RECIPIENT): ("unsubscribed_at", "opted_out_at"),
}
_of_contacts = (
    select(
        table.c.site_id,
        table.c.contact_id,
        *(func.max(case((events, table.c.occurred_at))).label(name) for name, events in EVENTS.items()),
    )
    .group_by(table.c.site_id, table.c.contact_id)
    .subquery()
)
# One pass through the ledger: a look-up for each contact would take hours.
follow_all = Statement(
    update(contacts)
    .where(contacts.c.site_id == _of_contacts.c.site_id, contacts.c.id == _of_contacts.c.contact_id)
    .values({name: _of_contacts.c[name] for name in CONSENT_MOMENTS})
)
moments_of_contact = Statement(
    select(*(contacts.c[name] for name in CONTACT_MOMENTS)).where(
        contacts.c.site_id == bindparam("site_id"), contacts.c.id == bindparam("contact_id")
    )
)
events_of_contact = Statement(
    select(table.c.event, table.c.cause, table.c.occurred_at)
    .where(table.c.site_id == bindparam("site_id"), table.c.contact_id == bindparam("contact_id"))
    .order_by(table.c.occurred_at, table.c.id)
)
last_event = Statement(
    select(table.c.event, table.c.occurred_at)
    .where(table.c.site_id == bindparam("site_id"), table.c.contact_id == bindparam("contact_id"))
    .order_by(table.c.occurred_at.desc(), table.c.id.desc())
    .limit(1)
)
delete_of_contact = Statement(
    delete(table).where(
        table.c.site_id == bindparam("of_site"), table.c.contact_id == bindparam("of_contact")
    )
)
move_to_contact = Statement(
    update(table)
    .where(table.c.site_id == bindparam("of_site"), table.c.contact_id == bindparam("of_contact"))
    .values(contact_id=bindparam("other_contact"))
)
set_moments = Statement(
    update(contacts)
    .where(contacts.c.site_id == bindparam("of_site"), contacts.c.id == bindparam("of_id"))
    .values({name: bindparam(name) for name in CONSENT_MOMENTS})
)


def record(transaction: Transaction, events: Sequence[Event], moment: str) -> None:
    """Write events into the ledgers of their contacts, which are new."""
    ids = transaction.new_ids("consent_events", len(events))
    transaction.insert(
        add_event,
        [
            (
                *(each.site_id, event_id, each.contact_id),
                *(SUBSCRIBED if each.subscribed else UNSUBSCRIBED, *each.circumstances),
                *(each.caller.key_id, each.caller.user_id, moment),
            )
            for event_id, each in zip(ids, events, strict=True)
        ],
    )


def add(transaction: Transaction, event: Event, moment: str) -> None:
    """Write an event behind all others of its contact's ledger; `follow` comes after it."""
    last = transaction.row(last_event, {"site_id": event.site_id, "contact_id": event.contact_id})
    # A clock steps back, or is behind that of the server which wrote the last event; and of two events of one
    # millisecond, ids that were leased in blocks do not say which came first.
    record(transaction, [event], moment if last is None else max(moment, just_after(last[1])))


def last_word(snapshot: Snapshot, site_id: int, contact_id: int) -> Subscription:
    """Return what the last event in the ledger of a contact says."""
    last = snapshot.row(last_event, {"site_id": site_id, "contact_id": contact_id})
    if last is None:
        return Subscription.NEVER
    return Subscription.SUBSCRIBED if last[0] == SUBSCRIBED else Subscription.UNSUBSCRIBED


def forget(transaction: Transaction, site_id: int, contact_id: int) -> None:
    """Delete the ledger of a contact, which is to be deleted too."""
    transaction.run(delete_of_contact, {"of_site": site_id, "of_contact": contact_id})


def move(transaction: Transaction, site_id: int, contact_id: int, other_id: int) -> None:
    """Put the events of a contact into the ledger of another."""
    which = {"of_site": site_id, "of_contact": contact_id, "other_contact": other_id}
    transaction.run(move_to_contact, which)


def moments(snapshot: Snapshot, site_id: int, contact_id: int) -> Row:
    """Return the moments of a contact, in the order of CONTACT_MOMENTS."""
    return snapshot.rows(moments_of_contact, {"site_id": site_id, "contact_id": contact_id})[0]


def follow(transaction: Transaction, site_id: int, contact_id: int) -> None:
    """Note the moments of the last events in the ledger of a contact, and keep the totals of their days."""
    which = {"site_id": site_id, "contact_id": contact_id}
    before = moments(transaction, site_id, contact_id)
    noted: dict[str, str | None] = dict.fromkeys(CONSENT_MOMENTS)
    for event, cause, occurred_at in transaction.rows(events_of_contact, which):
        for name in MOMENTS_OF[event, cause]:
            noted[name] = occurred_at
    after = (before[0], *noted.values())
    if before == after:
        return
    transaction.run(set_moments, noted | {"of_site": site_id, "of_id": contact_id})
    days.keep(transaction, [*days.of_moments(site_id, before, -1), *days.of_moments(site_id, after, 1)])


def read_circumstances(meta: Mapping[str, Any]) -> tuple[Circumstances, list[Problem]]:
    """Return what a document's `meta.consent` says, and what is wrong with it."""
    said = meta.get("consent")
    if said is None:
        return UNSAID, []
    if not isinstance(said, dict):
        return UNSAID, [Problem(Refusal.META_INVALID, "consent")]
    values, problems = UNSAID, []
    for name in Circumstances._fields:
        value = said.get(name)
        if value is None:
            continue
        if not _is_usable(name, value):
            words = (("label", label(name)),)
            problems.append(Problem(Refusal.META_INVALID, f"consent/{name}", words))
            continue
        values = values._replace(**{name: value})
    return values, problems


def _is_usable(name: str, value: Any) -> bool:
    if not isinstance(value, str) or "\0" in value or not value.strip():
        return False
    return name != "cause" or value in (ADMINISTRATOR, RECIPIENT)


def _record(row: Row) -> Record:
    attributes: dict[str, Any] = dict(zip(_NAMES, row[3:], strict=True))
    for name in ("key_id", "user_id"):
        attributes[name] = str(attributes[name])
    return Record(row[0], attributes, {"contact": row[2]})


_NAMES = ("event", "cause", "source", "wording", "ip_address", "key_id", "user_id", "occurred_at")

# No route lists the events of all contacts: it is in nobody's catalogue, and read by way of a contact.
RESOURCE = Resource(
    type=TYPE,
    table=table,
    columns=(table.c.id, table.c.site_id, table.c.contact_id, *(table.c[name] for name in _NAMES)),
    records=each_by(_record),
    sort_columns={"occurred_at": table.c.occurred_at},
)
