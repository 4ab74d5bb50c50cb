"""Consent: when somebody subscribed or unsubscribed, by which key and from where."""

from collections.abc import Sequence

from sqlalchemy import insert

from rollbook.storage.statements import InsertRows
from rollbook.storage.tables import consent_events
from rollbook.storage.transactions import Transaction

SUBSCRIBED = "subscribed"
API = "api"

add_event = InsertRows(
    insert(consent_events), ["site_id", "id", "contact_id", "event", "source", "key_id", "occurred_at"]
)


def record_subscribed(
    transaction: Transaction, subscribed: Sequence[tuple[int, int, int]], moment: str
) -> None:
    """Record that contacts, given as (site, contact, key), subscribed through the API."""
    ids = transaction.new_ids("consent_events", len(subscribed))
    transaction.insert(
        add_event,
        [
            (site_id, event_id, contact_id, SUBSCRIBED, API, key_id, moment)
            for event_id, (site_id, contact_id, key_id) in zip(ids, subscribed, strict=True)
        ],
    )
