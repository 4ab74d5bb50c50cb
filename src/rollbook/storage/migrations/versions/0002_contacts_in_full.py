"""Contacts in full: tags, notes, custom fields, consent with its cause, tombstones, kept answers."""

import sqlalchemy as sa
from alembic import op

from rollbook.storage.dialects import NARROW, STRICT, WHOLE

revision = "0002"
down_revision = "0001"

FIRST_IDS = {"contact_tags": 2_150_000_001, "contact_notes": 2_303_000_001, "custom_fields": 2_304_000_001}

# The columns of each table that is made anew, with what each takes from the table that was.
TAKEN = {
    "users": {
        **dict.fromkeys(("id", "name", "email", "role_level", "created_at")),
        "password_hash": "NULL",
    },
    "contacts": {
        **dict.fromkeys(
            (
                *("site_id", "id", "name", "email", "address_line_1", "address_line_2", "address_city"),
                *("address_country", "address_state", "address_zip", "phone_number", "business_number"),
                *("external_user_id", "custom", "created_at", "updated_at", "name_key", "email_key"),
            )
        ),
        "mobile_phone_number": "NULL",
        "subscription": "subscribed",
        "search_keys": "NULL",
        "tag_ids": "NULL",
    },
    "contact_counts": {
        **dict.fromkeys(("site_id", "contacts")),
        "subscribed": "(SELECT count(*) FROM contacts c WHERE c.site_id = contact_counts.site_id"
        " AND c.subscription = 1)",
        "never_subscribed": "(SELECT count(*) FROM contacts c WHERE c.site_id = contact_counts.site_id"
        " AND c.subscription = 0)",
    },
    "consent_events": {
        **dict.fromkeys(("site_id", "id", "contact_id", "event", "source", "key_id", "occurred_at")),
        "cause": "'administrator'",
        "wording": "NULL",
        "ip_address": "NULL",
        "user_id": "coalesce((SELECT user_id FROM keys WHERE keys.id = key_id), 0)",
    },
    "audit_events": {
        **dict.fromkeys(("site_id", "id", "action", "resource_id", "key_id", "occurred_at")),
        "user_id": "coalesce((SELECT user_id FROM keys WHERE keys.id = key_id), 0)",
    },
}


def upgrade() -> None:
    """Make the new tables, and make anew those whose columns change."""
    op.create_table(
        "new_users",
        sa.Column("id", WHOLE, autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("role_level", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        **STRICT,
    )
    _replace("users")
    op.create_table(
        "new_contacts",
        sa.Column("site_id", WHOLE, nullable=False),
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("address_line_1", sa.Text(), nullable=True),
        sa.Column("address_line_2", sa.Text(), nullable=True),
        sa.Column("address_city", sa.Text(), nullable=True),
        sa.Column("address_country", sa.Text(), nullable=True),
        sa.Column("address_state", sa.Text(), nullable=True),
        sa.Column("address_zip", sa.Text(), nullable=True),
        sa.Column("phone_number", sa.Text(), nullable=True),
        sa.Column("business_number", sa.Text(), nullable=True),
        sa.Column("mobile_phone_number", sa.Text(), nullable=True),
        sa.Column("subscription", WHOLE, nullable=False),
        sa.Column("external_user_id", sa.Text(), nullable=True),
        sa.Column("custom", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("email_key", sa.Text(), nullable=False),
        sa.Column("search_keys", sa.Text(), nullable=True),
        sa.Column("tag_ids", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["site_id"],
            ["sites.id"],
        ),
        sa.PrimaryKeyConstraint("site_id", "id"),
        sa.UniqueConstraint("site_id", "email_key", name="contacts_email_once_in_a_site"),
        **STRICT,
    )
    _replace("contacts")
    op.create_table(
        "new_contact_counts",
        sa.Column("site_id", WHOLE, autoincrement=False, nullable=False),
        sa.Column("contacts", WHOLE, nullable=False),
        sa.Column("subscribed", WHOLE, nullable=False),
        sa.Column("never_subscribed", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(
            ["site_id"],
            ["sites.id"],
        ),
        sa.PrimaryKeyConstraint("site_id"),
        **NARROW,
    )
    _replace("contact_counts")
    op.create_table(
        "new_consent_events",
        sa.Column("site_id", WHOLE, nullable=False),
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("contact_id", WHOLE, nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("wording", sa.Text(), nullable=True),
        sa.Column("ip_address", sa.Text(), nullable=True),
        sa.Column("key_id", WHOLE, nullable=False),
        sa.Column("user_id", WHOLE, nullable=False),
        sa.Column("occurred_at", sa.Text(), nullable=False),
        sa.CheckConstraint("event IN ('subscribed', 'unsubscribed')", name="consent_events_event"),
        sa.ForeignKeyConstraint(
            ["site_id", "contact_id"],
            ["contacts.site_id", "contacts.id"],
        ),
        sa.PrimaryKeyConstraint("site_id", "id"),
        **NARROW,
    )
    _replace("consent_events")
    op.create_table(
        "new_audit_events",
        sa.Column("site_id", WHOLE, nullable=False),
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("resource_id", WHOLE, nullable=False),
        sa.Column("key_id", WHOLE, nullable=False),
        sa.Column("user_id", WHOLE, nullable=False),
        sa.Column("occurred_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site_id", "id"),
        **NARROW,
    )
    _replace("audit_events")
    op.create_table(
        "contact_tombstones",
        sa.Column("site_id", WHOLE, nullable=False),
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("survivor_id", WHOLE, nullable=True),
        sa.Column("scrubbed", WHOLE, nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site_id"],
            ["sites.id"],
        ),
        sa.PrimaryKeyConstraint("site_id", "id"),
        **NARROW,
    )
    op.create_table(
        "contact_tags",
        sa.Column("site_id", WHOLE, nullable=False),
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("unique_name", sa.Text(), nullable=False),
        sa.Column("archived", WHOLE, nullable=False),
        sa.Column("contacts", WHOLE, nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site_id"],
            ["sites.id"],
        ),
        sa.PrimaryKeyConstraint("site_id", "id"),
        sa.UniqueConstraint("site_id", "unique_name", name="contact_tags_name_once_in_a_site"),
        **STRICT,
    )
    op.create_table(
        "contact_taggings",
        sa.Column("site_id", WHOLE, nullable=False),
        sa.Column("contact_id", WHOLE, nullable=False),
        sa.Column("tag_id", WHOLE, nullable=False),
        sa.Column("contact_created_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site_id", "contact_id"],
            ["contacts.site_id", "contacts.id"],
        ),
        sa.ForeignKeyConstraint(
            ["site_id", "tag_id"],
            ["contact_tags.site_id", "contact_tags.id"],
        ),
        sa.PrimaryKeyConstraint("site_id", "contact_id", "tag_id"),
        **NARROW,
    )
    op.create_table(
        "contact_notes",
        sa.Column("site_id", WHOLE, nullable=False),
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("contact_id", WHOLE, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site_id", "contact_id"],
            ["contacts.site_id", "contacts.id"],
        ),
        sa.PrimaryKeyConstraint("site_id", "id"),
        **STRICT,
    )
    op.create_table(
        "custom_fields",
        sa.Column("site_id", WHOLE, nullable=False),
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("title_key", sa.Text(), nullable=False),
        sa.Column("number", WHOLE, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("required", WHOLE, nullable=False),
        sa.Column("archived", WHOLE, nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site_id"],
            ["sites.id"],
        ),
        sa.PrimaryKeyConstraint("site_id", "id"),
        sa.UniqueConstraint("site_id", "number", name="custom_fields_handle_once_in_a_site"),
        **STRICT,
    )
    op.create_table(
        "kept_answers",
        sa.Column("key_id", WHOLE, nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("status", WHOLE, nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("key_id", "idempotency_key"),
        **NARROW,
    )
    op.create_index("audit_events_by_resource", "audit_events", ["site_id", "resource_id", "id"])
    op.create_index("contact_tombstones_by_survivor", "contact_tombstones", ["site_id", "survivor_id"])
    op.create_index("contacts_by_name", "contacts", ["site_id", "name_key", "id"])
    op.create_index(
        "contacts_external_user_id_once_in_a_site",
        "contacts",
        ["site_id", "external_user_id"],
        unique=True,
        sqlite_where=sa.text("external_user_id IS NOT NULL"),
    )
    op.create_index(
        "consent_events_by_contact", "consent_events", ["site_id", "contact_id", "occurred_at", "id"]
    )
    op.create_index(
        "consent_events_by_time", "consent_events", ["site_id", "event", "occurred_at", "contact_id", "cause"]
    )
    op.create_index("contact_notes_by_change", "contact_notes", ["site_id", "updated_at", "id"])
    op.create_index("kept_answers_by_age", "kept_answers", ["key_id", "created_at"])
    op.create_index("contacts_by_age", "contacts", ["site_id", sa.text("created_at DESC"), "id"])
    op.create_index(
        "contacts_by_subscription", "contacts", ["site_id", "subscription", sa.text("created_at DESC"), "id"]
    )
    op.create_index(
        "contact_taggings_by_tag",
        "contact_taggings",
        ["site_id", "tag_id", sa.text("contact_created_at DESC"), "contact_id"],
    )
    op.create_index(
        "contact_notes_by_contact",
        "contact_notes",
        ["site_id", "contact_id", sa.text("created_at DESC"), "id"],
    )
    op.create_index("contact_notes_by_age", "contact_notes", ["site_id", sa.text("created_at DESC"), "id"])
    op.create_index("contact_tags_by_name", "contact_tags", ["site_id", "name_key", "id"])
    op.create_table(
        "search_backlog",
        sa.Column("site_id", WHOLE, nullable=False),
        sa.Column("contact_id", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(["site_id", "contact_id"], ["contacts.site_id", "contacts.id"]),
        sa.PrimaryKeyConstraint("site_id", "contact_id"),
        **NARROW,
    )
    op.execute("INSERT INTO search_backlog (site_id, contact_id) SELECT site_id, id FROM contacts")
    for kind, first in FIRST_IDS.items():
        op.execute(
            sa.insert(sa.table("id_leases", sa.column("kind"), sa.column("next_id"))).values(
                kind=kind, next_id=first
            )
        )


def _replace(table: str) -> None:
    """Put a table's new form, with what the old one held, in its place."""
    taken = TAKEN[table]
    columns, sources = ", ".join(taken), ", ".join(source or name for name, source in taken.items())
    op.execute(f"INSERT INTO new_{table} ({columns}) SELECT {sources} FROM {table}")  # noqa: S608
    op.drop_table(table)
    op.rename_table(f"new_{table}", table)
