"""Contact tags: names by which a site groups its contacts, and which contact has which."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, func, insert, literal_column, select, update

from rollbook.jsonapi.errors import Problem, Refusal, Refused, refuse
from rollbook.jsonapi.reading import Draft, read_id
from rollbook.jsonapi.resource import Attribute, Filter, Kind, Record, Relationship, ResourceType
from rollbook.register import audit, members, text
from rollbook.register.callers import Caller
from rollbook.register.members import Place
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
    stored,
)
from rollbook.storage import dialects
from rollbook.storage.dialects import WHOLE
from rollbook.storage.statements import InsertRows, Row, Statement
from rollbook.storage.tables import contact_taggings as taggings
from rollbook.storage.tables import contact_tags as table
from rollbook.storage.tables import contacts
from rollbook.storage.transactions import Snapshot, Transaction

VIEW = "view:contact_tags"
EDIT = "edit:contact_tags"
# From so many contacts a deleted tag is taken at once: statements for each would hold the writer for minutes,
# and a database that says nothing until it is done with all might be given up.
TAKEN_AT_ONCE = 20_000

TYPE = ResourceType(
    name="contact_tags",
    description="A name by which a site groups its contacts.",
    attributes=(
        Attribute(
            "name",
            required=True,
            on_create=True,
            on_update=True,
            description="Unique in the site, in any case.",
            example="Webinar June",
        ),
        Attribute(
            "archived",
            Kind.BOOLEAN,
            on_update=True,
            description="Extension: kept, but not listed; answered only where true.",
            example=False,
        ),
    ),
    relationships=(Relationship("site", "sites", required=True, description="The tag's site."),),
    sorts=("name",),
    filters=(
        SITE_FILTER,
        Filter(
            "name_cont",
            "whose name contains this, in any case",
            values=lambda value, _sites: [text.text_key(value)],
            condition=lambda bound: dialects.contains(table.c.name_key, bound[0]),
            example="webinar",
        ),
    ),
    example_id="2150000042",
)
NAME_PLACE = TYPE.on_create["name"][0]


class NewTag(NamedTuple):
    """A tag that is to be made, and what is wrong with it."""

    caller: Caller
    site_id: int
    name: str
    problems: tuple[Problem, ...]


class TagChange(NamedTuple):
    """A change of a tag, and what is wrong with it."""

    found: Found
    given: dict[str, Any]
    problems: tuple[Problem, ...]


add_tag = InsertRows(
    dialects.insert_or_skip(table, ["site_id", "unique_name"]).returning(
        table.c.id, table.c.site_id, table.c.name, table.c.archived
    ),
    [
        *("site_id", "id", "name", "name_key", "unique_name", "archived", "contacts"),
        *("created_at", "updated_at"),
    ],
)
tag_with_name = Statement(
    select(table.c.id).where(
        table.c.site_id == bindparam("site_id"), table.c.unique_name == bindparam("unique_name")
    )
)
change_tag = Statement(
    update(table)
    .where(table.c.site_id == bindparam("of_site"), table.c.id == bindparam("of_id"))
    .values(
        name=bindparam("name"),
        name_key=bindparam("name_key"),
        unique_name=bindparam("unique_name"),
        archived=bindparam("archived"),
        updated_at=bindparam("updated_at"),
    )
)
delete_tag = Statement(
    delete(table).where(table.c.site_id == bindparam("site_id"), table.c.id == bindparam("id"))
)
delete_taggings = Statement(
    delete(taggings).where(taggings.c.site_id == bindparam("site_id"), taggings.c.tag_id == bindparam("id"))
)
_comma: Any = literal_column("','")
_without_tag = func.replace(_comma + contacts.c.tag_ids + _comma, bindparam("listed"), _comma)
_some_of_tag = (
    select(taggings.c.contact_id)
    .where(taggings.c.site_id == bindparam("of_site"), taggings.c.tag_id == bindparam("of_tag"))
    .order_by(taggings.c.contact_created_at.desc(), taggings.c.contact_id)
    .limit(bindparam("size", type_=WHOLE))
    .offset(bindparam("offset", type_=WHOLE))
)
take_from_contacts = Statement(
    update(contacts)
    .where(contacts.c.site_id == bindparam("of_site"), contacts.c.id.in_(_some_of_tag))
    .values(tag_ids=func.nullif(func.trim(_without_tag, _comma), literal_column("''")))
    .returning(contacts.c.id)
)
count_tag = Statement(
    update(table)
    .where(table.c.site_id == bindparam("of_site"), table.c.id == bindparam("of_id"))
    .values(contacts=table.c.contacts + bindparam("change"))
)
set_tag_ids = Statement(
    update(contacts)
    .where(contacts.c.site_id == bindparam("of_site"), contacts.c.id == bindparam("of_id"))
    .values(tag_ids=bindparam("tag_ids"))
)
tag_exists = Statement(
    select(table.c.id).where(table.c.site_id == bindparam("site_id"), table.c.id == bindparam("id"))
)
tags_of_contact = Statement(
    select(taggings.c.tag_id)
    .where(taggings.c.site_id == bindparam("site_id"), taggings.c.contact_id == bindparam("contact_id"))
    .order_by(taggings.c.tag_id)
)
add_tagging = InsertRows(insert(taggings), ["site_id", "contact_id", "tag_id", "contact_created_at"])
delete_tagging = Statement(
    delete(taggings).where(
        taggings.c.site_id == bindparam("site_id"),
        taggings.c.contact_id == bindparam("contact_id"),
        taggings.c.tag_id == bindparam("tag_id"),
    )
)


def prepare(caller: Caller, site_id: int, draft: Draft) -> NewTag:
    """Judge the draft of a tag by itself."""
    name = str(draft.attributes.get("name") or "")
    return NewTag(caller, site_id, name, (*_blank(draft, name), *draft.problems))


def all_problems(snapshot: Snapshot, new: NewTag) -> list[Problem]:
    """Return every problem of a tag that cannot be made."""
    return list(new.problems) or _taken(snapshot, new.caller, new.site_id, new.name, 0)


def create_many(transaction: Transaction, items: list[NewTag]) -> list[Record | Refused]:
    """Store tags, or refuse the name of one that is there."""
    moment = now()
    ids = transaction.new_ids("contact_tags", len(items))
    rows = transaction.insert(
        add_tag,
        [
            (new.site_id, each, new.name, *keys_of(new.name), 0, 0, moment, moment)
            for each, new in zip(ids, items, strict=True)
        ],
    )
    made = {row[0]: _record(row) for row in rows}
    done = [(new.site_id, each, new.caller) for each, new in zip(ids, items, strict=True) if each in made]
    audit.record(transaction, TYPE.name, "create", done, moment)
    return [made.get(each) or _refused(transaction, new) for each, new in zip(ids, items, strict=True)]


def _refused(snapshot: Snapshot, new: NewTag) -> Refused:
    """Return the refusal of a name that was in the way; whose it was may be gone by now."""
    taken = _taken(snapshot, new.caller, new.site_id, new.name, 0)
    return Refused(*(taken or [Problem(Refusal.TAKEN, "name", place=NAME_PLACE)]))


def prepare_change(found: Found, draft: Draft) -> TagChange:
    """Judge the change of a tag by itself; a null `archived` counts as absent."""
    given = {name: value for name, value in draft.attributes.items() if (name, value) != ("archived", None)}
    problems = _blank(draft, str(given["name"] or "")) if "name" in given else []
    return TagChange(found, given, tuple(sorted((*problems, *draft.problems), key=lambda each: each.place)))


def all_problems_of_change(snapshot: Snapshot, change: TagChange) -> list[Problem]:
    """Return every problem of a change that cannot be made."""
    if change.problems or "name" not in change.given:
        return list(change.problems)
    found = change.found
    return _taken(snapshot, found.caller, found.site_id, str(change.given["name"]), found.id)


def change_many(transaction: Transaction, items: list[TagChange]) -> list[Record | Refused]:
    """Change tags, or refuse the name of another."""
    return one_by_one(transaction, items, lambda change: change.found.site_id, _change)


def remove_many(transaction: Transaction, items: list[Found]) -> list[Refused | None]:
    """Delete tags, and take them from their contacts."""
    return one_by_one(transaction, items, lambda found: found.site_id, _remove)


def ids_of_known(snapshot: Snapshot, site_id: int, sent: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of a site's tags; raise Refused where one is unknown there."""
    ids = []
    for each in sent:
        number = read_id(each)
        if number is None or snapshot.row(tag_exists, {"site_id": site_id, "id": number}) is None:
            raise refuse(Refusal.NOT_FOUND)
        ids.append(number)
    return tuple(ids)


def of_contact(snapshot: Snapshot, site_id: int, contact_id: int) -> list[int]:
    """Return the tags of a contact, ascending."""
    rows = snapshot.rows(tags_of_contact, {"site_id": site_id, "contact_id": contact_id})
    return [row[0] for row in rows]


def replace(
    transaction: Transaction,
    site_id: int,
    contact_id: int,
    created_at: str,
    subscription: int,
    wanted: Sequence[int],
) -> bool:
    """Give a contact, made at a moment, these tags and no other; return whether anything changed.

    `subscription` is the state that it is in.
    """
    current = of_contact(transaction, site_id, contact_id)
    added = sorted(set(wanted) - set(current))
    transaction.insert(add_tagging, [(site_id, contact_id, each, created_at) for each in added])
    removed = sorted(set(current) - set(wanted))
    for each in removed:
        transaction.run(delete_tagging, {"site_id": site_id, "contact_id": contact_id, "tag_id": each})
    for tag_id, change in (*((each, 1) for each in added), *((each, -1) for each in removed)):
        transaction.run(count_tag, {"of_site": site_id, "of_id": tag_id, "change": change})
        place = Place(site_id, tag_id, subscription, contact_id)
        (members.add if change > 0 else members.remove)(transaction, place)
    if added or removed:
        _note(transaction, site_id, contact_id, wanted)
    return bool(added or removed)


def follow_subscription(
    transaction: Transaction, site_id: int, contact_id: int, before: int, after: int
) -> None:
    """Keep the sets of a contact's tags when it goes from one state of subscription to another."""
    for tag_id in of_contact(transaction, site_id, contact_id):
        members.remove(transaction, Place(site_id, tag_id, before, contact_id))
        members.add(transaction, Place(site_id, tag_id, after, contact_id))


def _change(transaction: Transaction, change: TagChange) -> Record | Refused:
    found = change.found
    current = stored(transaction, RESOURCE, found.site_id, found.id)
    if current is None:
        return missing(transaction, RESOURCE, found.caller, str(found.id))
    found.judge(current)
    problems = all_problems_of_change(transaction, change)
    if problems:
        return Refused(*problems)
    before = {"archived": False} | current.attributes
    after = before | change.given
    if after == before:
        return current
    moment = now()
    name_key, unique_name = keys_of(after["name"])
    values = {
        "of_site": found.site_id,
        "of_id": found.id,
        "name": after["name"],
        "name_key": name_key,
        "unique_name": unique_name,
        "archived": int(after["archived"]),
        "updated_at": moment,
    }
    transaction.run(change_tag, values)
    audit.record(transaction, TYPE.name, "update", [(found.site_id, found.id, found.caller)], moment)
    return _record((found.id, found.site_id, after["name"], values["archived"]))


def _remove(transaction: Transaction, found: Found) -> Refused | None:
    current = stored(transaction, RESOURCE, found.site_id, found.id)
    if current is None:
        return missing(transaction, RESOURCE, found.caller, str(found.id))
    found.judge(current)
    which = {"site_id": found.site_id, "id": found.id}
    _take_from_all(transaction, found.site_id, found.id)
    transaction.run(members.delete_of_tag, which)
    transaction.run(delete_tag, which)
    audit.record(transaction, TYPE.name, "delete", [(found.site_id, found.id, found.caller)], now())
    return None


def _take_from_all(transaction: Transaction, site_id: int, tag_id: int) -> None:
    """Take a tag from all contacts that have it; its own sets are left."""
    some = {"of_site": site_id, "of_tag": tag_id, "listed": f",{tag_id},", "size": TAKEN_AT_ONCE}
    done, portion = 0, TAKEN_AT_ONCE
    while portion == TAKEN_AT_ONCE:
        portion = len(transaction.run(take_from_contacts, some | {"offset": done}))
        done += portion
    transaction.run(delete_taggings, {"site_id": site_id, "id": tag_id})


def _note(transaction: Transaction, site_id: int, contact_id: int, tag_ids: Sequence[int]) -> None:
    """Write the tags of a contact into its own row."""
    joined = ",".join(map(str, sorted(set(tag_ids)))) or None
    transaction.run(set_tag_ids, {"of_site": site_id, "of_id": contact_id, "tag_ids": joined})


def keys_of(name: str) -> tuple[str, str]:
    """Return what a tag is sorted and found by, and what is unique."""
    return text.text_key(name), text.index_key(text.text_key(name.strip()))


def _blank(draft: Draft, name: str) -> list[Problem]:
    if name.strip() or any(problem.name == "name" for problem in draft.problems):
        return []
    return [Problem(Refusal.BLANK, "name", place=NAME_PLACE)]


def _taken(snapshot: Snapshot, caller: Caller, site_id: int, name: str, own_id: int) -> list[Problem]:
    row = snapshot.row(tag_with_name, {"site_id": site_id, "unique_name": keys_of(name)[1]})
    if row is None or row[0] == own_id:
        return []
    existing = (TYPE.name, row[0]) if caller.may(VIEW) else None
    return [Problem(Refusal.TAKEN, "name", place=NAME_PLACE, existing=existing)]


def _record(row: Row) -> Record:
    tag_id, site_id, name, archived = row
    return Record(tag_id, {"name": name} | ({"archived": True} if archived else {}), {"site": site_id})


RESOURCE = Resource(
    type=TYPE,
    table=table,
    columns=(table.c.id, table.c.site_id, table.c.name, table.c.archived),
    records=each_by(_record),
    sort_columns={"name": table.c.name_key},
    view_permission=VIEW,
    creation=Creation(EDIT, prepare, all_problems, create_many, extension=True),
    change=Change(EDIT, prepare_change, all_problems_of_change, change_many, extension=True),
    removal=Removal(EDIT, remove_many, extension=True),
    listed=table.c.archived == 0,
)
