"""Contacts: the people on one's sites, one per e-mail and site."""

from typing import Any, NamedTuple

import orjson
from sqlalchemy import bindparam, select

from rollbook.jsonapi.errors import Problem, Refusal, Refused
from rollbook.jsonapi.reading import BOOLEANS, Draft
from rollbook.jsonapi.resource import (
    Attribute,
    AttributeFamily,
    Filter,
    Kind,
    Record,
    Relationship,
    ResourceType,
)
from rollbook.register import audit, consent, text
from rollbook.register.callers import Caller
from rollbook.register.moments import now
from rollbook.register.resource import SITE_FILTER, Creation, Resource
from rollbook.storage import dialects
from rollbook.storage.statements import InsertRows, Statement
from rollbook.storage.tables import contact_counts
from rollbook.storage.tables import contacts as table
from rollbook.storage.transactions import Row, Snapshot, Transaction

VIEW = "view:contacts"
EDIT = "edit:contacts"
HIGHEST_CUSTOM = 150


def _optional(name: str, description: str = "", example: str | None = None) -> Attribute:
    return Attribute(name, nullable=True, on_create=True, description=description, example=example)


def _emails(value: str, _sites: tuple[int, ...]) -> list[str]:
    return [text.email_key(value)]


def _part_of(name: str, meaning: str, column: Any, needle: Any, example: str) -> Filter:
    """Return a filter for a part of a text: the index narrows, the text decides."""
    return Filter(
        name,
        meaning,
        values=lambda value, sites: [text.gram_query(sites, (needle(value),)), needle(value)],
        condition=lambda bound: (
            dialects.has_grams(table.c.id, bound[0]) & dialects.contains(column, bound[1])
        ),
        example=example,
        selective=True,
    )


def _search_values(value: str, sites: tuple[int, ...]) -> list[str] | None:
    words = [(text.text_key(word), word.lower()) for word in dict.fromkeys(value.split())]
    return [text.gram_query(sites, *words), orjson.dumps(words).decode()] if words else None


def _flags(value: str, _sites: tuple[int, ...]) -> list[int] | None:
    flag = BOOLEANS.get({"1": "true", "0": "false"}.get(value, value.lower()))
    return None if flag is None else [int(flag)]


FILTERS = (
    SITE_FILTER,
    Filter(
        "search",
        "each of whose words, split at white space, is part of the name or the e-mail, in any case",
        values=_search_values,
        condition=lambda bound: (
            dialects.has_grams(table.c.id, bound[0])
            & dialects.contains_all(table.c.name_key, table.c.email, bound[1])
        ),
        example="ines",
        selective=True,
    ),
    Filter(
        "email",
        "whose e-mail is this, in any case",
        values=_emails,
        condition=lambda bound: table.c.email_key == bound[0],
        example="ines@example.test",
        selective=True,
    ),
    Filter(
        "email_eq",
        "whose e-mail is this, in any case; the same as `email`",
        values=_emails,
        condition=lambda bound: table.c.email_key == bound[0],
        example="ines@example.test",
        selective=True,
    ),
    _part_of(
        "email_contains", "whose e-mail contains this, in any case", table.c.email, str.lower, "@example"
    ),
    _part_of(
        "name_contains", "whose name contains this, in any case", table.c.name_key, text.text_key, "oka"
    ),
    Filter(
        "subscribed",
        "who are subscribed to marketing (`true`), or who are not (`false`)",
        values=_flags,
        condition=lambda bound: table.c.subscribed == bound[0],
        example="true",
    ),
)

TYPE = ResourceType(
    name="contacts",
    description="A person on a site, with at most one contact for an e-mail in a site.",
    attributes=(
        Attribute(
            "name",
            on_create=True,
            description="The full name; without one, the local part of the e-mail.",
            example="Ines Okafor",
        ),
        Attribute(
            "email",
            required=True,
            on_create=True,
            description="Trimmed, lower-cased, and unique in the site.",
            example="ines@example.test",
        ),
        _optional("address_line_1", example="Rua das Flores 12"),
        _optional("address_line_2", example="2 Esq"),
        _optional("address_city", example="Porto"),
        _optional("address_country", description="A code or a full name.", example="PT"),
        _optional("address_state", example="Porto"),
        _optional("address_zip", example="4050-262"),
        _optional("phone_number", example="+351 555 010 020"),
        _optional("business_number", description="A second phone.", example="+351 555 010 021"),
        Attribute(
            "subscribed",
            Kind.BOOLEAN,
            on_create=True,
            description="Whether the person agreed to marketing; false unless said.",
            example=True,
        ),
        Attribute(
            "external_user_id",
            nullable=True,
            description="Accepted and ignored on create: a new contact does not support it.",
        ),
        AttributeFamily(
            "custom_",
            HIGHEST_CUSTOM,
            _optional("custom", "A custom field; answered where it has a value.", "Retail"),
        ),
        Attribute("created_at", Kind.TIMESTAMP, example="2026-05-01T10:00:00.000Z"),
        Attribute("updated_at", Kind.TIMESTAMP, example="2026-05-01T10:00:00.000Z"),
    ),
    relationships=(
        Relationship("customer", "customers", includable=True, description="Null until an offer is granted."),
        Relationship("site", "sites", includable=True, required=True, description="The contact's site."),
        Relationship("offers", "offers", to_many=True, linked=True, includable=True),
        Relationship("tags", "contact_tags", to_many=True, linked=True, includable=True),
    ),
    sorts=("name", "email", "created_at"),
    default_sort="-created_at",
    filters=FILTERS,
    links={"customer": ""},
    example_id="2301000456",
)

# The texts that a create stores as they are sent, in the order of their columns.
PLAIN = (
    "address_line_1",
    "address_line_2",
    "address_city",
    "address_country",
    "address_state",
    "address_zip",
    "phone_number",
    "business_number",
)
# The attributes before the custom fields, in the order of emission and of the columns.
FIXED = ("name", "email", *PLAIN, "subscribed", "external_user_id")
STAMPS = ("created_at", "updated_at")
COLUMNS = tuple(table.c[name] for name in ("id", "site_id", *FIXED, *STAMPS, "custom"))
NAMES = (*FIXED, *STAMPS)
SUBSCRIBED_AT, STAMPS_AT = 2 + FIXED.index("subscribed"), 2 + len(FIXED)
EMAIL_PLACE = TYPE.writable["email"][0]
NO_CUSTOM = "{}"


class NewContact(NamedTuple):
    """A contact that is to be made: checked, with its keys, and with what is wrong with it."""

    caller: Caller
    site_id: int
    values: tuple[Any, ...]
    name_key: str
    email_key: str
    subscribed: bool
    grams: str
    problems: tuple[Problem, ...]


existing_id = Statement(
    select(table.c.id).where(
        table.c.site_id == bindparam("site_id"), table.c.email_key == bindparam("email_key")
    )
)
add_contact = InsertRows(
    dialects.insert_or_skip(table, ["site_id", "email_key"]).returning(*COLUMNS),
    ["site_id", "id", "name", "email", *PLAIN, "subscribed", "custom", *STAMPS, "name_key", "email_key"],
)
add_grams = InsertRows(dialects.insert_grams(), ["rowid", "grams"])
add_to_count = InsertRows(
    dialects.insert_or_add(contact_counts, ["site_id"], contact_counts.c.contacts), ["site_id", "contacts"]
)
count_of_site = Statement(
    select(contact_counts.c.contacts).where(contact_counts.c.site_id == bindparam("site_id"))
)


def prepare(caller: Caller, site_id: int, draft: Draft) -> NewContact:
    """Judge a draft by itself, and make the keys that its contact is stored and found by."""
    given = draft.attributes
    email = text.email_text(str(given.get("email") or ""))
    problems = list(draft.problems)
    if not any(problem.name == "email" for problem in problems):
        if not email:
            problems.append(Problem(Refusal.BLANK, "email", place=EMAIL_PLACE))
        elif not text.is_email(email):
            problems.append(Problem(Refusal.INVALID, "email", place=EMAIL_PLACE))
    name = str(given.get("name") or "")
    if not name.strip():
        name = email.rpartition("@")[0]
    name_key, email_key = text.text_key(name), text.email_key(email)
    subscribed = given.get("subscribed") is True
    values = (
        name,
        email,
        *[given.get(each) for each in PLAIN],
        int(subscribed),
        _custom(given),
    )
    grams = "" if problems else text.grams(site_id, name_key, email)
    problems.sort(key=lambda problem: problem.place)
    return NewContact(caller, site_id, values, name_key, email_key, subscribed, grams, tuple(problems))


def all_problems(snapshot: Snapshot, new: NewContact) -> list[Problem]:
    """Return every problem of a contact that cannot be made, a taken e-mail among them."""
    problems = list(new.problems)
    if not any(problem.name == "email" for problem in problems):
        row = snapshot.row(existing_id, {"site_id": new.site_id, "email_key": new.email_key})
        if row is not None:
            problems.append(_taken(new, row[0]))
    return sorted(problems, key=lambda problem: problem.place)


def create_many(transaction: Transaction, items: list[NewContact]) -> list[Record | Refused]:
    """Store contacts, each with its consent event and its audit row, or refuse a taken e-mail.

    Of several with one e-mail in one site the first is stored.
    """
    moment = now()
    ids = transaction.new_ids("contacts", len(items))
    # The unique index judges, never a look before the insert: two that come at once cannot both pass.
    rows = transaction.insert(
        add_contact,
        [
            (new.site_id, each, *new.values, moment, moment, new.name_key, new.email_key)
            for each, new in zip(ids, items, strict=True)
        ],
    )
    stored = {row[0]: _record(row) for row in rows}
    made = [(each, new) for each, new in zip(ids, items, strict=True) if each in stored]
    done = [(new.site_id, each, new.caller.key_id) for each, new in made]
    transaction.insert(add_grams, [(each, new.grams) for each, new in made])
    consent.record_subscribed(
        transaction, [who for who, (_, new) in zip(done, made, strict=True) if new.subscribed], moment
    )
    audit.record(transaction, "contacts.create", done, moment)
    added: dict[int, int] = {}
    for site_id, _, _ in done:
        added[site_id] = added.get(site_id, 0) + 1
    transaction.insert(add_to_count, list(added.items()))
    return [stored.get(each) or _refuse_taken(transaction, new) for each, new in zip(ids, items, strict=True)]


def total(snapshot: Snapshot, sites: tuple[int, ...]) -> int:
    """Return how many contacts the sites have."""
    rows = [snapshot.row(count_of_site, {"site_id": site_id}) for site_id in sites]
    return sum(row[0] for row in rows if row)


def _custom(given: dict[str, Any]) -> str:
    values = {name: given[name] for name in given if name.startswith("custom_") and given[name] is not None}
    if not values:
        return NO_CUSTOM
    numbered = sorted(values.items(), key=lambda item: int(item[0].removeprefix("custom_")))
    return orjson.dumps(dict(numbered)).decode()


def _refuse_taken(transaction: Transaction, new: NewContact) -> Refused:
    row = transaction.rows(existing_id, {"site_id": new.site_id, "email_key": new.email_key})[0]
    return Refused(_taken(new, row[0]))


def _taken(new: NewContact, contact_id: int) -> Problem:
    existing = ("contacts", contact_id) if new.caller.may(VIEW) else None
    return Problem(Refusal.TAKEN, "email", place=EMAIL_PLACE, existing=existing)


def _record(row: Row) -> Record:
    # The custom fields come last in a row: without them, the names fit what is before.
    if row[-1] == NO_CUSTOM:
        attributes = dict(zip(NAMES, row[2:-1], strict=True))
    else:
        attributes = dict(zip(FIXED, row[2:STAMPS_AT], strict=True))
        attributes.update(orjson.loads(row[-1]))
        attributes.update(zip(STAMPS, row[STAMPS_AT:-1], strict=True))
    attributes["subscribed"] = row[SUBSCRIBED_AT] == 1
    return Record(row[0], attributes, {"customer": None, "site": row[1], "offers": (), "tags": ()})


RESOURCE = Resource(
    type=TYPE,
    table=table,
    columns=COLUMNS,
    record=_record,
    sort_columns={"name": table.c.name_key, "email": table.c.email_key, "created_at": table.c.created_at},
    view_permission=VIEW,
    creation=Creation(EDIT, prepare, all_problems, create_many),
    total=total,
)
