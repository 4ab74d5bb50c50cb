"""The register begins: sites, keys, tokens, contacts, consent, audit, ids and the search index."""

import sqlalchemy as sa
from alembic import op

from rollbook.storage import search_index
from rollbook.storage.dialects import NARROW, STRICT, WHOLE

revision = "0001"
down_revision = None

FIRST_IDS = {
    "sites": 2_147_000_001,
    "users": 2_300_000_001,
    "keys": 2_300_500_001,
    "contacts": 2_301_000_001,
    "consent_events": 2_600_000_000_001,
    "audit_events": 2_700_000_000_001,
}


def upgrade() -> None:
    """Make every table of the first schema."""
    op.create_table(
        "audit_events",
        sa.Column("site_id", WHOLE, nullable=False),
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("resource_id", WHOLE, nullable=False),
        sa.Column("key_id", WHOLE, nullable=False),
        sa.Column("occurred_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site_id", "id"),
        **NARROW,
    )
    op.create_table(
        "id_leases",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("next_id", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("kind"),
        **NARROW,
    )
    op.create_table(
        "sites",
        sa.Column("id", WHOLE, autoincrement=False, nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("title_key", sa.Text(), nullable=False),
        sa.Column("subdomain", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("subdomain"),
        **STRICT,
    )
    op.create_table(
        "users",
        sa.Column("id", WHOLE, autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("role_level", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        **STRICT,
    )
    op.create_table(
        "contact_counts",
        sa.Column("site_id", WHOLE, autoincrement=False, nullable=False),
        sa.Column("contacts", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(
            ["site_id"],
            ["sites.id"],
        ),
        sa.PrimaryKeyConstraint("site_id"),
        **NARROW,
    )
    op.create_table(
        "contacts",
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
        sa.Column("subscribed", WHOLE, nullable=False),
        sa.Column("external_user_id", sa.Text(), nullable=True),
        sa.Column("custom", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("email_key", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site_id"],
            ["sites.id"],
        ),
        sa.PrimaryKeyConstraint("site_id", "id"),
        sa.UniqueConstraint("site_id", "email_key", name="contacts_email_once_in_a_site"),
        **STRICT,
    )
    op.create_index("contacts_by_age", "contacts", ["site_id", sa.text("created_at DESC"), "id"])
    op.create_index("contacts_by_name", "contacts", ["site_id", "name_key", "id"], unique=False)
    op.create_table(
        "keys",
        sa.Column("id", WHOLE, autoincrement=False, nullable=False),
        sa.Column("user_id", WHOLE, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column("all_sites", WHOLE, nullable=False),
        sa.Column("permissions", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("client_id"),
        **STRICT,
    )
    op.create_table(
        "consent_events",
        sa.Column("site_id", WHOLE, nullable=False),
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("contact_id", WHOLE, nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("key_id", WHOLE, nullable=False),
        sa.Column("occurred_at", sa.Text(), nullable=False),
        sa.CheckConstraint("event IN ('subscribed', 'unsubscribed')", name="consent_events_event"),
        sa.ForeignKeyConstraint(
            ["site_id", "contact_id"],
            ["contacts.site_id", "contacts.id"],
        ),
        sa.PrimaryKeyConstraint("site_id", "id"),
        **NARROW,
    )
    op.create_index(
        "consent_events_by_contact", "consent_events", ["site_id", "contact_id", "id"], unique=False
    )
    op.create_table(
        "key_sites",
        sa.Column("site_id", WHOLE, nullable=False),
        sa.Column("key_id", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["site_id"],
            ["sites.id"],
        ),
        sa.PrimaryKeyConstraint("site_id", "key_id"),
        **NARROW,
    )
    op.create_index("key_sites_by_key", "key_sites", ["key_id"], unique=False)
    op.create_table(
        "tokens",
        sa.Column("access_hash", sa.Text(), nullable=False),
        sa.Column("refresh_hash", sa.Text(), nullable=True),
        sa.Column("key_id", WHOLE, nullable=False),
        sa.Column("access_expires_at", sa.Text(), nullable=False),
        sa.Column("refresh_expires_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("access_hash"),
        sa.UniqueConstraint("refresh_hash"),
        **NARROW,
    )
    op.create_index("tokens_by_key", "tokens", ["key_id", "refresh_expires_at"], unique=False)
    for statement in search_index.CREATE["sqlite"]:
        op.execute(statement)
    for kind, first in FIRST_IDS.items():
        op.execute(
            sa.insert(sa.table("id_leases", sa.column("kind"), sa.column("next_id"))).values(
                kind=kind, next_id=first
            )
        )
