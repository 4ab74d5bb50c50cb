"""Custom fields: what a site calls `custom_1` to `custom_150` of its contacts."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from sqlalchemy import bindparam, select, update

from rollbook.jsonapi.errors import Problem, Refusal, Refused
from rollbook.jsonapi.reading import BOOLEANS, Draft
from rollbook.jsonapi.resource import Attribute, Filter, Kind, Record, Relationship, ResourceType
from rollbook.register import audit, text
from rollbook.register.callers import Caller
from rollbook.register.moments import now
from rollbook.register.one_by_one import one_by_one
from rollbook.register.resource import (
    SITE_FILTER,
    Change,
    Creation,
    Found,
    Resource,
    each_by,
    missing,
    stored,
)
from rollbook.storage import dialects
from rollbook.storage.statements import InsertRows, Row, Statement
from rollbook.storage.tables import custom_fields as table
from rollbook.storage.transactions import Snapshot, Transaction

VIEW = "view:custom_fields"
EDIT = "edit:custom_fields"
PREFIX = "custom_"
HIGHEST = 150
KINDS = (
    *("TextField", "PhoneField", "EmailField", "TextAreaField", "CheckboxField", "SelectBoxField"),
    *("RadioButtonsField", "CountryField", "MobilePhoneField"),
)


def flag_asked(value: str, _sites: tuple[int, ...]) -> list[int] | None:
    """Return the value of a filter by a boolean, or None for a text that is none."""
    flag = BOOLEANS.get({"1": "true", "0": "false"}.get(value, value.lower()))
    return None if flag is None else [int(flag)]


TYPE = ResourceType(
    name="custom_fields",
    description="What a site calls one of the fields `custom_1` to `custom_150` of its contacts.",
    attributes=(
        Attribute("title", required=True, on_create=True, on_update=True, example="Industry"),
        Attribute(
            "handle",
            on_create=True,
            description="The name of the attribute on contacts; the lowest free one unless given.",
            example="custom_1",
            asks={"pattern": f"^{PREFIX}[1-9][0-9]{{0,2}}$"},
        ),
        Attribute(
            "type",
            on_create=True,
            on_update=True,
            choices=KINDS,
            description="The kind of the field, not of the resource.",
            example="TextField",
        ),
        Attribute("required", Kind.BOOLEAN, on_create=True, on_update=True, example=False),
        Attribute(
            "archived",
            Kind.BOOLEAN,
            on_update=True,
            description="Extension: kept, but not listed; answered only where true.",
            example=False,
        ),
    ),
    relationships=(Relationship("site", "sites", required=True, description="The field's site."),),
    sorts=("title", "handle", "type", "required"),
    filters=(
        SITE_FILTER,
        Filter(
            "title_cont",
            "whose title contains this, in any case",
            values=lambda value, _sites: [text.text_key(value)],
            condition=lambda bound: dialects.contains(table.c.title_key, bound[0]),
            example="indus",
        ),
        Filter(
            "type_eq",
            "of this kind",
            values=lambda value, _sites: [value],
            condition=lambda bound: table.c.type == bound[0],
            example="TextField",
        ),
        Filter(
            "required_eq",
            "that must be filled in (`true`), or need not (`false`)",
            values=flag_asked,
            condition=lambda bound: table.c.required == bound[0],
            example="true",
        ),
    ),
    example_id="2304000010",
)
PLACES = {name: place for name, (place, _) in (TYPE.on_create | TYPE.on_update).items()}
COLUMNS = tuple(
    table.c[name] for name in ("id", "site_id", "title", "number", "type", "required", "archived")
)


class NewField(NamedTuple):
    """A custom field that is to be made, and what is wrong with it; without a number, the lowest free."""

    caller: Caller
    site_id: int
    title: str
    number: int | None
    kind: str
    required: bool
    problems: tuple[Problem, ...]


class FieldChange(NamedTuple):
    """A change of a custom field, and what is wrong with it."""

    found: Found
    given: dict[str, Any]
    problems: tuple[Problem, ...]


add_field = InsertRows(
    dialects.insert_or_skip(table, ["site_id", "number"]).returning(*COLUMNS),
    [
        *("site_id", "id", "title", "title_key", "number", "type", "required", "archived"),
        *("created_at", "updated_at"),
    ],
)
numbers_of_site = Statement(
    select(table.c.number).where(table.c.site_id == bindparam("site_id")).order_by(table.c.number)
)
field_with_number = Statement(
    select(table.c.id).where(table.c.site_id == bindparam("site_id"), table.c.number == bindparam("number"))
)
change_field = Statement(
    update(table)
    .where(table.c.site_id == bindparam("of_site"), table.c.id == bindparam("of_id"))
    .values(
        title=bindparam("title"),
        title_key=bindparam("title_key"),
        type=bindparam("type"),
        required=bindparam("required"),
        archived=bindparam("archived"),
        updated_at=bindparam("updated_at"),
    )
    .returning(*COLUMNS)
)
listed_numbers = Statement(
    select(table.c.site_id, table.c.number)
    .where(dialects.among(table.c.site_id, bindparam("sites")), table.c.archived == 0)
    .order_by(table.c.site_id, table.c.number)
)
listed_numbers_of_site = Statement(
    select(table.c.site_id, table.c.number)
    .where(table.c.site_id == bindparam("site_id"), table.c.archived == 0)
    .order_by(table.c.number)
)


def names_defined(snapshot: Snapshot, sites: tuple[int, ...]) -> Mapping[int, tuple[str, ...]]:
    """Return the attributes that sites define for their contacts, in the order of their numbers."""
    defined: dict[int, tuple[str, ...]] = dict.fromkeys(sites, ())
    if len(sites) == 1:
        # Nearly every request is about one site, and a list of one costs three times as much.
        rows = snapshot.rows(listed_numbers_of_site, {"site_id": sites[0]})
    else:
        rows = snapshot.rows(listed_numbers, {"sites": orjson.dumps(sites).decode()})
    for site_id, number in rows:
        defined[site_id] += (f"{PREFIX}{number}",)
    return defined


def prepare(caller: Caller, site_id: int, draft: Draft) -> NewField:
    """Judge the draft of a custom field by itself."""
    given = draft.attributes
    problems = [*_blank(draft), *draft.problems]
    number, handle = None, given.get("handle")
    if handle is not None:
        number = _number(str(handle))
        if number is None and not any(problem.name == "handle" for problem in problems):
            problems.append(Problem(Refusal.INVALID, "handle", place=PLACES["handle"]))
    problems.sort(key=lambda problem: problem.place)
    return NewField(
        caller,
        site_id,
        str(given.get("title") or ""),
        number,
        str(given.get("type") or KINDS[0]),
        given.get("required") is True,
        tuple(problems),
    )


def all_problems(snapshot: Snapshot, new: NewField) -> list[Problem]:
    """Return every problem of a custom field that cannot be made."""
    problems = list(new.problems)
    if not any(problem.name == "handle" for problem in problems):
        problems += _taken(snapshot, new)
    return sorted(problems, key=lambda problem: problem.place)


def create_many(transaction: Transaction, items: list[NewField]) -> list[Record | Refused]:
    """Store custom fields, or refuse the handle of one that is there."""
    return one_by_one(transaction, items, lambda new: new.site_id, _create)


def prepare_change(found: Found, draft: Draft) -> FieldChange:
    """Judge the change of a custom field by itself; null flags and kinds count as absent."""
    given = {name: value for name, value in draft.attributes.items() if name == "title" or value is not None}
    problems = _blank(draft) if "title" in given else []
    return FieldChange(found, given, tuple(sorted((*problems, *draft.problems), key=lambda each: each.place)))


def all_problems_of_change(_snapshot: Snapshot, change: FieldChange) -> list[Problem]:
    """Return every problem of a change that cannot be made."""
    return list(change.problems)


def change_many(transaction: Transaction, items: list[FieldChange]) -> list[Record | Refused]:
    """Change custom fields; what their contacts answer follows at once."""
    return one_by_one(transaction, items, lambda change: change.found.site_id, _change)


def _create(transaction: Transaction, new: NewField) -> Record | Refused:
    problems = _taken(transaction, new)
    if problems:
        return Refused(*problems)
    number = new.number or _lowest_free(transaction, new.site_id)
    moment = now()
    (field_id,) = transaction.new_ids("custom_fields", 1)
    row = [new.site_id, field_id, new.title, text.text_key(new.title), number, new.kind, int(new.required), 0]
    (made,) = transaction.insert(add_field, [[*row, moment, moment]])
    audit.record(transaction, TYPE.name, "create", [(new.site_id, field_id, new.caller)], moment)
    return _record(made)


def _change(transaction: Transaction, change: FieldChange) -> Record | Refused:
    found = change.found
    current = stored(transaction, RESOURCE, found.site_id, found.id)
    if current is None:
        return missing(transaction, RESOURCE, found.caller, str(found.id))
    found.judge(current)
    before = {"archived": False} | current.attributes
    after = before | change.given
    if after == before:
        return current
    moment = now()
    values = {
        "of_site": found.site_id,
        "of_id": found.id,
        "title": after["title"],
        "title_key": text.text_key(after["title"]),
        "type": after["type"],
        "required": int(after["required"]),
        "archived": int(after["archived"]),
        "updated_at": moment,
    }
    (row,) = transaction.run(change_field, values)
    audit.record(transaction, TYPE.name, "update", [(found.site_id, found.id, found.caller)], moment)
    return _record(row)


def _number(handle: str) -> int | None:
    digits = handle.removeprefix(PREFIX)
    known = handle.startswith(PREFIX) and digits.isascii() and digits.isdecimal() and len(digits) <= 3
    number = int(digits) if known else 0
    return number if 1 <= number <= HIGHEST and digits == str(number) else None


def _lowest_free(snapshot: Snapshot, site_id: int) -> int:
    """Return the lowest number that no field of a site has, or 0 where there is none."""
    taken = {row[0] for row in snapshot.rows(numbers_of_site, {"site_id": site_id})}
    return next((number for number in range(1, HIGHEST + 1) if number not in taken), 0)


def _taken(snapshot: Snapshot, new: NewField) -> list[Problem]:
    place = PLACES["handle"]
    if new.number is None:
        if _lowest_free(snapshot, new.site_id):
            return []
        return [Problem(Refusal.NO_NUMBER_FREE, f"{PREFIX}1 to {PREFIX}{HIGHEST}", place=place)]
    row = snapshot.row(field_with_number, {"site_id": new.site_id, "number": new.number})
    if row is None:
        return []
    existing = (TYPE.name, row[0]) if new.caller.may(VIEW) else None
    return [Problem(Refusal.TAKEN, "handle", place=place, existing=existing)]


def _blank(draft: Draft) -> list[Problem]:
    title = str(draft.attributes.get("title") or "")
    if title.strip() or any(problem.name == "title" for problem in draft.problems):
        return []
    return [Problem(Refusal.BLANK, "title", place=PLACES["title"])]


def _record(row: Row) -> Record:
    field_id, site_id, title, number, kind, required, archived = row
    attributes = {
        "title": title,
        "handle": f"{PREFIX}{number}",
        "type": kind,
        "required": required == 1,
    }
    return Record(field_id, attributes | ({"archived": True} if archived else {}), {"site": site_id})


RESOURCE = Resource(
    type=TYPE,
    table=table,
    columns=COLUMNS,
    records=each_by(_record),
    sort_columns={
        "title": table.c.title_key,
        "handle": table.c.number,
        "type": table.c.type,
        "required": table.c.required,
    },
    view_permission=VIEW,
    creation=Creation(EDIT, prepare, all_problems, create_many, locks_sites=True, extension=True),
    change=Change(EDIT, prepare_change, all_problems_of_change, change_many, extension=True),
    listed=table.c.archived == 0,
)
