"""The audit: who did what to which resource, by ids alone, without personal data."""

from collections.abc import Sequence

from sqlalchemy import insert

from rollbook.jsonapi.reading import read_id
from rollbook.jsonapi.resource import Attribute, Filter, Kind, Record, Relationship, ResourceType
from rollbook.register.callers import Caller
from rollbook.register.resource import SITE_FILTER, Resource, each_by
from rollbook.storage.statements import InsertRows, Row
from rollbook.storage.tables import audit_events as table
from rollbook.storage.transactions import Transaction

VIEW = "view:audit_events"

# What was done, as (site, resource, who did it).
Done = tuple[int, int, Caller]


def ids_asked(text: str, _sites: tuple[int, ...]) -> list[int]:
    """Return the value of a filter by an id; a text that is no id is that of nothing."""
    return [read_id(text.strip()) or 0]


TYPE = ResourceType(
    name="audit_events",
    description="Who did what to which resource, by ids alone. Nothing changes or deletes an event.",
    attributes=(
        Attribute("action", description="The type and what was done.", example="contacts.create"),
        Attribute("resource_type", example="contacts"),
        Attribute("resource_id", example="2301000456"),
        Attribute("key_id", description="The API key that did it.", example="2300500001"),
        Attribute("user_id", description="The user that the key belongs to.", example="2300000001"),
        Attribute("occurred_at", Kind.TIMESTAMP, example="2026-05-01T10:00:00.000Z"),
    ),
    relationships=(Relationship("site", "sites", includable=True, description="Where it was done."),),
    sorts=("occurred_at",),
    default_sort="-occurred_at",
    filters=(
        SITE_FILTER,
        Filter(
            "action_eq",
            "with this action",
            values=lambda text, _sites: [text],
            condition=lambda bound: table.c.action == bound[0],
            example="contacts.create",
        ),
        Filter(
            "resource_id",
            "about the resource with this id",
            values=ids_asked,
            condition=lambda bound: table.c.resource_id == bound[0],
            example="2301000456",
            selective=True,
        ),
        Filter(
            "key_id",
            "by the API key with this id",
            values=ids_asked,
            condition=lambda bound: table.c.key_id == bound[0],
            example="2300500001",
        ),
    ),
    example_id="2700000000001",
    extension=True,
)

add_event = InsertRows(
    insert(table),
    ["site_id", "id", "action", "resource_id", "key_id", "user_id", "occurred_at"],
)


def record(
    transaction: Transaction, resource_type: str, action: str, done: Sequence[Done], moment: str
) -> None:
    """Record what was done to resources of a type: `create`, `update`, `delete`, `merge`, `erase`."""
    ids = transaction.new_ids("audit_events", len(done))
    name = f"{resource_type}.{action}"
    transaction.insert(
        add_event,
        [
            (site_id, event_id, name, resource_id, who.key_id, who.user_id, moment)
            for event_id, (site_id, resource_id, who) in zip(ids, done, strict=True)
        ],
    )


def _record(row: Row) -> Record:
    event_id, site_id, action, resource_id, key_id, user_id, occurred_at = row
    attributes = {
        "action": action,
        "resource_type": action.partition(".")[0],
        "resource_id": str(resource_id),
        "key_id": str(key_id),
        "user_id": str(user_id),
        "occurred_at": occurred_at,
    }
    return Record(event_id, attributes, {"site": site_id})


RESOURCE = Resource(
    type=TYPE,
    table=table,
    columns=tuple(
        table.c[name]
        for name in ("id", "site_id", "action", "resource_id", "key_id", "user_id", "occurred_at")
    ),
    records=each_by(_record),
    sort_columns={"occurred_at": table.c.occurred_at},
    view_permission=VIEW,
)
