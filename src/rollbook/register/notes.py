"""Contact notes: what a site's people write about a contact."""

from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, insert, update

from rollbook.jsonapi.errors import Problem, Refusal, Refused
from rollbook.jsonapi.reading import Draft
from rollbook.jsonapi.resource import Attribute, Filter, Kind, Record, Relationship, ResourceType
from rollbook.register import audit, contacts
from rollbook.register.audit import ids_asked
from rollbook.register.callers import Caller
from rollbook.register.moments import now
from rollbook.register.one_by_one import one_by_one
from rollbook.register.resource import (
    SITE_FILTER,
    Change,
    Creation,
    Found,
    Removal,
    Resource,
    each_by,
    missing,
    site_of,
    stored,
)
from rollbook.storage import dialects
from rollbook.storage.statements import InsertRows, Row, Statement
from rollbook.storage.tables import contact_notes as table
from rollbook.storage.transactions import Snapshot, Transaction

VIEW = "view:contact_notes"
EDIT = "edit:contact_notes"
NOWHERE_YET = 0

TYPE = ResourceType(
    name="contact_notes",
    description="A note about a contact: plain text, with newlines.",
    attributes=(
        Attribute(
            "body",
            required=True,
            on_create=True,
            on_update=True,
            example="Called back.\nWants the June date.",
        ),
        Attribute("created_at", Kind.TIMESTAMP, example="2026-06-01T09:00:00.000Z"),
        Attribute("updated_at", Kind.TIMESTAMP, example="2026-06-01T09:00:00.000Z"),
    ),
    relationships=(
        Relationship(
            "contact",
            "contacts",
            includable=True,
            on_create=True,
            description="Required on create; it cannot change.",
        ),
    ),
    sorts=("created_at", "updated_at"),
    default_sort="-created_at",
    filters=(
        SITE_FILTER,
        Filter(
            "contact_id",
            "about the contact with this id, or about any in a comma list",
            values=lambda value, sites: [id_ for each in value.split(",") for id_ in ids_asked(each, sites)],
            condition=lambda bound: table.c.contact_id.in_(bound),
            of_list=lambda contact_ids, _many: dialects.among_many(table.c.contact_id, contact_ids),
            example="2301000456",
        ),
    ),
    page_size=20,
    page_cap=100,
    example_id="2303000900",
)
COLUMNS = tuple(table.c[name] for name in ("id", "site_id", "body", "created_at", "updated_at", "contact_id"))


class NewNote(NamedTuple):
    """A note that is to be made, and what is wrong with it; it belongs where its contact does."""

    caller: Caller
    contact_id: str
    body: str
    problems: tuple[Problem, ...]


class NoteChange(NamedTuple):
    """A change of a note's body, where one is given, and what is wrong with it."""

    found: Found
    body: str | None
    problems: tuple[Problem, ...]


add_note = InsertRows(insert(table), ["site_id", "id", "contact_id", "body", "created_at", "updated_at"])
change_note = Statement(
    update(table)
    .where(table.c.site_id == bindparam("of_site"), table.c.id == bindparam("of_id"))
    .values(body=bindparam("body"), updated_at=bindparam("updated_at"))
    .returning(*COLUMNS)
)
delete_note = Statement(
    delete(table).where(table.c.site_id == bindparam("site_id"), table.c.id == bindparam("id"))
)


def prepare(caller: Caller, _site_id: int, draft: Draft) -> NewNote:
    """Judge the draft of a note by itself."""
    body = str(draft.attributes.get("body") or "")
    return NewNote(caller, draft.related.get("contact", ""), body, (*_blank(draft, body), *draft.problems))


def all_problems(snapshot: Snapshot, new: NewNote) -> list[Problem]:
    """Return every problem of a note that cannot be made."""
    site_id = site_of(snapshot, contacts.RESOURCE, new.caller, new.contact_id)
    return [*new.problems, *([_no_contact()] if site_id is None else [])]


def create_many(transaction: Transaction, items: list[NewNote]) -> list[Record | Refused]:
    """Store notes, or refuse a contact that the caller does not see."""
    return [_create(transaction, new) for new in items]


def prepare_change(found: Found, draft: Draft) -> NoteChange:
    """Judge the change of a note by itself."""
    if "body" not in draft.attributes:
        return NoteChange(found, None, draft.problems)
    body = str(draft.attributes["body"] or "")
    return NoteChange(found, body, (*_blank(draft, body), *draft.problems))


def all_problems_of_change(_snapshot: Snapshot, change: NoteChange) -> list[Problem]:
    """Return every problem of a change that cannot be made."""
    return list(change.problems)


def change_many(transaction: Transaction, items: list[NoteChange]) -> list[Record | Refused]:
    """Change the bodies of notes."""
    return one_by_one(transaction, items, lambda change: change.found.site_id, _change)


def remove_many(transaction: Transaction, items: list[Found]) -> list[Refused | None]:
    """Delete notes."""
    return one_by_one(transaction, items, lambda found: found.site_id, _remove)


def _create(transaction: Transaction, new: NewNote) -> Record | Refused:
    site_id = site_of(transaction, contacts.RESOURCE, new.caller, new.contact_id)
    if site_id is None:
        return Refused(_no_contact())
    moment = now()
    (note_id,) = transaction.new_ids("contact_notes", 1)
    contact_id = int(new.contact_id)
    transaction.insert(add_note, [(site_id, note_id, contact_id, new.body, moment, moment)])
    audit.record(transaction, TYPE.name, "create", [(site_id, note_id, new.caller)], moment)
    return _record((note_id, site_id, new.body, moment, moment, contact_id))


def _change(transaction: Transaction, change: NoteChange) -> Record | Refused:
    found = change.found
    current = stored(transaction, RESOURCE, found.site_id, found.id)
    if current is None:
        return missing(transaction, RESOURCE, found.caller, str(found.id))
    found.judge(current)
    if change.body is None or change.body == current.attributes["body"]:
        return current
    moment = now()
    values: dict[str, Any] = {"of_site": found.site_id, "of_id": found.id}
    (row,) = transaction.run(change_note, values | {"body": change.body, "updated_at": moment})
    audit.record(transaction, TYPE.name, "update", [(found.site_id, found.id, found.caller)], moment)
    return _record(row)


def _remove(transaction: Transaction, found: Found) -> Refused | None:
    current = stored(transaction, RESOURCE, found.site_id, found.id)
    if current is None:
        return missing(transaction, RESOURCE, found.caller, str(found.id))
    found.judge(current)
    transaction.run(delete_note, {"site_id": found.site_id, "id": found.id})
    audit.record(transaction, TYPE.name, "delete", [(found.site_id, found.id, found.caller)], now())
    return None


def _no_contact() -> Problem:
    # Relationships come after the attributes.
    return Problem(Refusal.MUST_EXIST, "contact", place=len(TYPE.attributes))


def _blank(draft: Draft, body: str) -> list[Problem]:
    if body.strip() or any(problem.name == "body" for problem in draft.problems):
        return []
    return [Problem(Refusal.BLANK, "body")]


def _record(row: Row) -> Record:
    note_id, _, body, created_at, updated_at, contact_id = row
    attributes = {"body": body, "created_at": created_at, "updated_at": updated_at}
    return Record(note_id, attributes, {"contact": contact_id})


RESOURCE = Resource(
    type=TYPE,
    table=table,
    columns=COLUMNS,
    records=each_by(_record),
    sort_columns={"created_at": table.c.created_at, "updated_at": table.c.updated_at},
    view_permission=VIEW,
    creation=Creation(EDIT, prepare, all_problems, create_many, site_of=lambda _caller, _draft: NOWHERE_YET),
    change=Change(EDIT, prepare_change, all_problems_of_change, change_many),
    removal=Removal(EDIT, remove_many),
)
