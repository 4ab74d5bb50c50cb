"""What a contact is: its attributes and relationships, how it is stored, and by what it is found."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from rollbook.jsonapi.resource import (
    Attribute,
    AttributeFamily,
    Kind,
    Record,
    Relationship,
    ResourceType,
)
from rollbook.register import audience, custom_fields, text
from rollbook.register.consent import Subscription
from rollbook.register.custom_fields import PREFIX
from rollbook.storage.statements import Row
from rollbook.storage.tables import contacts as table
from rollbook.storage.transactions import Snapshot


def _optional(name: str, description: str = "", example: str | None = None) -> Attribute:
    return Attribute(
        name, nullable=True, on_create=True, on_update=True, description=description, example=example
    )


TYPE = ResourceType(
    name="contacts",
    description="A person on a site, with at most one contact for an e-mail in a site.",
    attributes=(
        Attribute(
            "name",
            on_create=True,
            on_update=True,
            description="The full name; without one, the local part of the e-mail.",
            example="Ines Okafor",
        ),
        Attribute(
            "email",
            required=True,
            on_create=True,
            on_update=True,
            description="Trimmed, lower-cased, and unique in the site.",
            example="ines@example.test",
            asks={"format": "email"},
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
            on_update=True,
            description="Whether the person agreed to marketing; false unless said.",
            example=True,
        ),
        Attribute(
            "external_user_id",
            nullable=True,
            on_update=True,
            description="Ignored on create; it needs a customer. Extension: an upsert by it stores it.",
        ),
        AttributeFamily(
            custom_fields.PREFIX,
            custom_fields.HIGHEST,
            _optional("custom", "Answered where the site defines the field, or it has a value.", "Retail"),
        ),
        Attribute("created_at", Kind.TIMESTAMP, example="2026-05-01T10:00:00.000Z"),
        Attribute("updated_at", Kind.TIMESTAMP, example="2026-05-01T10:00:00.000Z"),
    ),
    relationships=(
        Relationship("customer", "customers", includable=True, description="Null until an offer is granted."),
        Relationship("site", "sites", includable=True, required=True, description="The contact's site."),
        Relationship("offers", "offers", to_many=True, linked=True, includable=True),
        Relationship("tags", "contact_tags", to_many=True, linked=True, includable=True, on_update=True),
    ),
    sorts=("name", "email", "created_at"),
    default_sort="-created_at",
    filters=audience.FILTERS,
    withdrawn_filters=("is_suppressed",),
    links={"customer": ""},
    example_id="2301000456",
)

# The texts that are stored as they are sent, in the order of their columns.
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
FIXED = ("name", "email", *PLAIN, "subscription", "external_user_id")
STAMPS = ("created_at", "updated_at")
# What stands behind the custom fields and the tags is not answered.
BESIDE = ("custom", "tag_ids", "mobile_phone_number", "search_keys")
COLUMNS = tuple(table.c[name] for name in ("id", "site_id", *FIXED, *STAMPS, *BESIDE))
NAMES = (*("subscribed" if name == "subscription" else name for name in FIXED), *STAMPS)
SUBSCRIPTION_AT, STAMPS_AT = 2 + FIXED.index("subscription"), 2 + len(FIXED)
CUSTOM_AT = STAMPS_AT + len(STAMPS)
# What a record is made of: custom fields and tags, but nothing behind them.
RECORD_COLUMNS = COLUMNS[: CUSTOM_AT + 2]
NO_CUSTOM = "{}"
SUBSCRIBED = int(Subscription.SUBSCRIBED)


class Keys(NamedTuple):
    """What a contact is compared, sorted and searched by.

    `search_keys` has the keys of the searchable texts beside e-mail and name, as a JSON object; the name is
    there too where `name_key` does not hold the whole of it.
    """

    name_key: str
    email_key: str
    search_keys: str | None


def keys_of(name: str, email: str, texts: dict[str, Any]) -> Keys:
    """Return the keys of a contact; `texts` has those of its searchable texts that it has, by attribute."""
    others = {each: text.text_key(texts[each]) for each in audience.LETTERS if texts.get(each)}
    whole = text.text_key(name)
    name_key = text.index_key(whole)
    if name_key != whole:
        others["name"] = whole
    search_keys = orjson.dumps(others).decode() if others else None
    return Keys(name_key, text.email_key(email), search_keys)


NO_KEYS = Keys("", "", None)


def values_of_row(row: Row) -> dict[str, Any]:
    """Return the stored values of a row of COLUMNS by column."""
    return dict(zip((*FIXED, *STAMPS, *BESIDE), row[2:], strict=True))


def custom_document(given: dict[str, Any]) -> str:
    """Return the custom fields among these values that have one, as a JSON object in their order."""
    values = {name: given[name] for name in given if name.startswith(PREFIX) and given[name] is not None}
    if not values:
        return NO_CUSTOM
    return orjson.dumps(dict(sorted(values.items(), key=_by_number))).decode()


def _by_number(item: tuple[str, Any]) -> int:
    return int(item[0].removeprefix(PREFIX))


def records_of(snapshot: Snapshot, rows: Sequence[Row]) -> list[Record]:
    """Return the records of rows of RECORD_COLUMNS, or of more."""
    sites = tuple(sorted({row[1] for row in rows}))
    defined = snapshot.remembered(custom_fields.names_defined, sites)
    return [record_of(row, defined[row[1]]) for row in rows]


def record_of(row: Row, defined: tuple[str, ...]) -> Record:
    """Return the record of a row of RECORD_COLUMNS, with the custom fields that its site defines."""
    custom, tag_ids = row[CUSTOM_AT], row[CUSTOM_AT + 1]
    if custom == NO_CUSTOM and not defined:
        attributes = dict(zip(NAMES, row[2:], strict=False))
    else:
        attributes = dict(zip(NAMES, row[2:STAMPS_AT], strict=False))
        attributes.update(_emitted(orjson.loads(custom), defined))
        attributes.update(zip(STAMPS, row[STAMPS_AT:CUSTOM_AT], strict=True))
    attributes["subscribed"] = row[SUBSCRIPTION_AT] == SUBSCRIBED
    linked = tuple(map(int, tag_ids.split(","))) if tag_ids else ()
    return Record(row[0], attributes, {"customer": None, "site": row[1], "offers": (), "tags": linked})


def _emitted(values: dict[str, str], defined: tuple[str, ...]) -> dict[str, str | None]:
    """Return the custom fields that are answered: those that have a value, and those that are defined."""
    emitted: dict[str, str | None] = dict.fromkeys(defined) | values
    if len(emitted) > len(defined) > 0:
        return dict(sorted(emitted.items(), key=_by_number))
    return emitted
