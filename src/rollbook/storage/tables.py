"""Every table of the register, readable from top to bottom."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.schema import SchemaItem

from rollbook.storage import dialects
from rollbook.storage.dialects import NARROW, STRICT, TEXT, WHOLE

# The revisions of the schema that this program knows, oldest first; the last is the one that it needs.
REVISIONS = ("0001", "0002", "0003", "0004", "0005")
# The revision of a database that others are still copied into: no program, however old, serves it.
UNFINISHED = "copying"

# The tables whose content servers remember between requests.
REMEMBERED = frozenset({"keys", "key_sites", "users", "sites", "custom_fields", "tokens"})

metadata = MetaData()


def _table(name: str, *parts: SchemaItem) -> Table:
    return Table(name, metadata, *parts, **STRICT)


def _narrow_table(name: str, *parts: SchemaItem) -> Table:
    return Table(name, metadata, *parts, **NARROW)


def _required(name: str, *parts: ForeignKey) -> Column[object]:
    return Column(name, TEXT, *parts, nullable=False)


def _number(name: str, *parts: ForeignKey) -> Column[object]:
    return Column(name, WHOLE, *parts, nullable=False)


# Moments are ISO 8601 in UTC with milliseconds and Z: the text of the wire, in an order that is that of time.

sites = _table(
    "sites",
    Column("id", WHOLE, primary_key=True, autoincrement=False),
    _required("title"),
    _required("title_key"),
    Column("subdomain", TEXT, nullable=False, unique=True),
    _required("created_at"),
    _required("updated_at"),
)

users = _table(
    "users",
    Column("id", WHOLE, primary_key=True, autoincrement=False),
    _required("name"),
    _required("email"),
    _required("role_level"),
    # An argon2id hash, for the password grant; null until somebody sets a password.
    Column("password_hash", TEXT),
    _required("created_at"),
)

keys = _table(
    "keys",
    Column("id", WHOLE, primary_key=True, autoincrement=False),
    _number("user_id", ForeignKey("users.id")),
    _required("name"),
    Column("client_id", TEXT, nullable=False, unique=True),
    _required("secret_hash"),
    _number("all_sites"),
    # Names of permissions, separated by a space; an asterisk for all, those to come included.
    _required("permissions"),
    _required("created_at"),
)

key_sites = _narrow_table(
    "key_sites",
    _number("site_id", ForeignKey("sites.id")),
    _number("key_id", ForeignKey("keys.id", ondelete="CASCADE")),
    PrimaryKeyConstraint("site_id", "key_id"),
    Index("key_sites_by_key", "key_id"),
)

# A pair of an access and a refresh token; a used refresh token is null. Only hashes are kept.
tokens = _narrow_table(
    "tokens",
    Column("access_hash", TEXT, primary_key=True),
    Column("refresh_hash", TEXT, nullable=True, unique=True),
    _number("key_id", ForeignKey("keys.id", ondelete="CASCADE")),
    _required("access_expires_at"),
    _required("refresh_expires_at"),
    Index("tokens_by_key", "key_id", "refresh_expires_at"),
)

contacts = _table(
    "contacts",
    _number("site_id", ForeignKey("sites.id")),
    _number("id"),
    _required("name"),
    _required("email"),
    Column("address_line_1", TEXT),
    Column("address_line_2", TEXT),
    Column("address_city", TEXT),
    Column("address_country", TEXT),
    Column("address_state", TEXT),
    Column("address_zip", TEXT),
    Column("phone_number", TEXT),
    Column("business_number", TEXT),
    # Stored for one filter; the API answers it nowhere.
    Column("mobile_phone_number", TEXT),
    # What the last consent event says: 0 there is none, 1 subscribed, 2 unsubscribed.
    _number("subscription"),
    Column("external_user_id", TEXT),
    # A JSON object of the custom fields that have a value, by handle.
    _required("custom"),
    _required("created_at"),
    _required("updated_at"),
    # What is compared, sorted and searched: made by Python, compared as bytes by every engine.
    _required("name_key"),
    _required("email_key"),
    # A JSON object of the keys of the other searchable texts, by attribute; null where there are none.
    Column("search_keys", TEXT),
    # The ids of the tags in contact_taggings, ascending and joined by commas, so that a page need not look
    # each contact's up; null for none.
    Column("tag_ids", TEXT),
    # The moments of the last consent events of each kind, as the ledger has them; null where there are none.
    Column("subscribed_at", TEXT),
    Column("unsubscribed_at", TEXT),
    Column("manually_unsubscribed_at", TEXT),
    Column("opted_out_at", TEXT),
    PrimaryKeyConstraint("site_id", "id"),
    UniqueConstraint("site_id", "email_key", name="contacts_email_once_in_a_site"),
    Index("contacts_by_name", "site_id", "name_key", "id"),
    # The default order of the contract: newest first, then id.
    Index("contacts_by_age", "site_id", text("created_at DESC"), "id"),
    Index("contacts_by_subscription", "site_id", "subscription", text("created_at DESC"), "id"),
)
# The columns of a contact that say when something happened, for which totals are kept by day.
CONTACT_MOMENTS = (
    "created_at",
    "subscribed_at",
    "unsubscribed_at",
    "manually_unsubscribed_at",
    "opted_out_at",
)

Index(
    "contacts_external_user_id_once_in_a_site",
    contacts.c.site_id,
    dialects.indexed_whole(contacts.c.external_user_id),
    unique=True,
    sqlite_where=text("external_user_id IS NOT NULL"),
    postgresql_where=text("external_user_id IS NOT NULL"),
)

# The contacts whose texts the search index does not have yet, as they are; a search looks at all of them.
search_backlog = _narrow_table(
    "search_backlog",
    _number("site_id"),
    _number("contact_id"),
    PrimaryKeyConstraint("site_id", "contact_id"),
    ForeignKeyConstraint(["site_id", "contact_id"], ["contacts.site_id", "contacts.id"]),
)

# Kept beside the contacts, in their transactions: counting a large site would read all of its index.
contact_counts = _narrow_table(
    "contact_counts",
    Column("site_id", WHOLE, ForeignKey("sites.id"), primary_key=True, autoincrement=False),
    _number("contacts"),
    _number("subscribed"),
    _number("never_subscribed"),
)

# How many contacts have each of their moments on a day; kept in their transactions.
contact_days = _narrow_table(
    "contact_days",
    _number("site_id", ForeignKey("sites.id")),
    _required("day"),
    _number("created"),
    _number("subscribed"),
    _number("unsubscribed"),
    _number("manually_unsubscribed"),
    _number("opted_out"),
    PrimaryKeyConstraint("site_id", "day"),
)

# A contact that is gone for good, so that its id is not used again; a merged one names its survivor.
# `scrubbed` says that no byte of an erased one is left in the files.
contact_tombstones = _narrow_table(
    "contact_tombstones",
    _number("site_id", ForeignKey("sites.id")),
    _number("id"),
    Column("survivor_id", WHOLE),
    _number("scrubbed"),
    _required("created_at"),
    PrimaryKeyConstraint("site_id", "id"),
    Index("contact_tombstones_by_survivor", "site_id", "survivor_id"),
)

contact_tags = _table(
    "contact_tags",
    _number("site_id", ForeignKey("sites.id")),
    _number("id"),
    _required("name"),
    _required("name_key"),
    # The key without blanks around it: two tags that differ by these look like one to everybody.
    _required("unique_name"),
    _number("archived"),
    # How many contacts have it; kept in their transactions.
    _number("contacts"),
    _required("created_at"),
    _required("updated_at"),
    PrimaryKeyConstraint("site_id", "id"),
    UniqueConstraint("site_id", "unique_name", name="contact_tags_name_once_in_a_site"),
    Index("contact_tags_by_name", "site_id", "name_key", "id"),
)

# Which contact has which tag. The contact's age is here too, so that an index holds a tag's contacts in the
# order of the default list.
contact_taggings = _narrow_table(
    "contact_taggings",
    _number("site_id"),
    _number("contact_id"),
    _number("tag_id"),
    _required("contact_created_at"),
    PrimaryKeyConstraint("site_id", "contact_id", "tag_id"),
    ForeignKeyConstraint(["site_id", "contact_id"], ["contacts.site_id", "contacts.id"]),
    ForeignKeyConstraint(["site_id", "tag_id"], ["contact_tags.site_id", "contact_tags.id"]),
    Index("contact_taggings_by_tag", "site_id", "tag_id", text("contact_created_at DESC"), "contact_id"),
)

# The taggings once more, as sets: which contacts of a tag and a state of subscription have ids in a block of
# 32,000; see register/members.py. So many are counted, united and intersected at once.
contact_tag_members = _table(
    "contact_tag_members",
    _number("site_id"),
    _number("tag_id"),
    _number("subscription"),
    _number("block"),
    Column("members", LargeBinary, nullable=False),
    PrimaryKeyConstraint("site_id", "tag_id", "subscription", "block"),
    ForeignKeyConstraint(["site_id", "tag_id"], ["contact_tags.site_id", "contact_tags.id"]),
)

contact_notes = _table(
    "contact_notes",
    _number("site_id"),
    _number("id"),
    _number("contact_id"),
    _required("body"),
    _required("created_at"),
    _required("updated_at"),
    PrimaryKeyConstraint("site_id", "id"),
    ForeignKeyConstraint(["site_id", "contact_id"], ["contacts.site_id", "contacts.id"]),
    Index("contact_notes_by_contact", "site_id", "contact_id", text("created_at DESC"), "id"),
    Index("contact_notes_by_age", "site_id", text("created_at DESC"), "id"),
    Index("contact_notes_by_change", "site_id", "updated_at", "id"),
)

custom_fields = _table(
    "custom_fields",
    _number("site_id", ForeignKey("sites.id")),
    _number("id"),
    _required("title"),
    _required("title_key"),
    # The number of its handle: 1 for custom_1.
    _number("number"),
    _required("type"),
    _number("required"),
    _number("archived"),
    _required("created_at"),
    _required("updated_at"),
    PrimaryKeyConstraint("site_id", "id"),
    UniqueConstraint("site_id", "number", name="custom_fields_handle_once_in_a_site"),
)

consent_events = _narrow_table(
    "consent_events",
    _number("site_id"),
    _number("id"),
    _number("contact_id"),
    _required("event"),
    _required("cause"),
    _required("source"),
    Column("wording", TEXT),
    Column("ip_address", TEXT),
    _number("key_id"),
    _number("user_id"),
    _required("occurred_at"),
    # A contact's ledger stands together, in the order of time. That ids are given once is the leases' affair.
    PrimaryKeyConstraint("site_id", "contact_id", "occurred_at", "id"),
    ForeignKeyConstraint(["site_id", "contact_id"], ["contacts.site_id", "contacts.id"]),
    CheckConstraint("event IN ('subscribed', 'unsubscribed')", name="consent_events_event"),
    Index("consent_events_by_time", "site_id", "event", "occurred_at", "contact_id", "cause"),
)

# Who did what to which resource, by id alone; no foreign keys, for it outlives what it speaks of.
audit_events = _narrow_table(
    "audit_events",
    _number("site_id"),
    _number("id"),
    # The type of the resource and what was done to it: contacts.create.
    _required("action"),
    _number("resource_id"),
    _number("key_id"),
    _number("user_id"),
    _required("occurred_at"),
    PrimaryKeyConstraint("site_id", "id"),
    Index("audit_events_by_resource", "site_id", "resource_id", "id"),
)

# Answers kept for retries with the same Idempotency-Key, by the API key that sent it; of the former the hash.
kept_answers = _narrow_table(
    "kept_answers",
    _number("key_id", ForeignKey("keys.id", ondelete="CASCADE")),
    _required("idempotency_key"),
    _required("request_hash"),
    _number("status"),
    # A JSON array of pairs of a name and a value.
    _required("headers"),
    _required("body"),
    _required("created_at"),
    PrimaryKeyConstraint("key_id", "idempotency_key"),
    Index("kept_answers_by_age", "key_id", "created_at"),
)

# The next id of each kind that nobody has leased yet; see ids.py.
id_leases = _narrow_table(
    "id_leases",
    Column("kind", TEXT, primary_key=True),
    _number("next_id"),
)
