"""The audit: who did what to which resource, by ids alone, without personal data."""

from collections.abc import Sequence

from sqlalchemy import insert

from rollbook.storage.statements import InsertRows
from rollbook.storage.tables import audit_events
from rollbook.storage.transactions import Transaction

add_event = InsertRows(
    insert(audit_events), ["site_id", "id", "action", "resource_id", "key_id", "occurred_at"]
)


def record(transaction: Transaction, action: str, done: Sequence[tuple[int, int, int]], moment: str) -> None:
    """Record an action on resources, given as (site, resource, key)."""
    ids = transaction.new_ids("audit_events", len(done))
    transaction.insert(
        add_event,
        [
            (site_id, event_id, action, resource_id, key_id, moment)
            for event_id, (site_id, resource_id, key_id) in zip(ids, done, strict=True)
        ],
    )
