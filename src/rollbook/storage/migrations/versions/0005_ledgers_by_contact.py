"""The ledger of a contact is where its key leads; more may wait to be merged into PostgreSQL's index."""

import sqlalchemy as sa
from alembic import op

from rollbook.storage.dialects import NARROW, TEXT, WHOLE

revision = "0005"
down_revision = "0004"

KEY = ("site_id", "contact_id", "occurred_at", "id")
COLUMNS = (
    *("site_id", "id", "contact_id", "event", "cause", "source", "wording", "ip_address"),
    *("key_id", "user_id", "occurred_at"),
)
# Of a table in parts, the parts have indexes of their own, and those alone can be altered.
INDEXES_BY_GRAM = (
    "SELECT CAST(each.indexrelid AS regclass) FROM pg_index AS each "
    "JOIN pg_class ON pg_class.oid = each.indexrelid JOIN pg_am ON pg_am.oid = pg_class.relam "
    "WHERE pg_am.amname = 'gin' AND pg_class.relkind = 'i' "
    "AND (each.indrelid = to_regclass('contact_search') "
    "OR each.indrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('contact_search')))"
)


def upgrade() -> None:
    """Have one index for the ledgers of contacts, the primary key's, instead of two."""
    if op.get_context().dialect.name == "postgresql":
        key = ", ".join(KEY)
        op.execute(f"ALTER TABLE consent_events DROP CONSTRAINT consent_events_pkey, ADD PRIMARY KEY ({key})")
        op.drop_index("consent_events_by_contact", "consent_events")
        for (index,) in op.get_bind().execute(sa.text(INDEXES_BY_GRAM)).all():
            op.execute(f"ALTER INDEX {index} SET (gin_pending_list_limit = 256)")
        return
    # SQLite has rows of such a table where their key is, and so makes the table anew.
    op.rename_table("consent_events", "consent_events_before")
    op.create_table(
        "consent_events",
        sa.Column("site_id", WHOLE, nullable=False),
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("contact_id", WHOLE, nullable=False),
        sa.Column("event", TEXT, nullable=False),
        sa.Column("cause", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("wording", TEXT),
        sa.Column("ip_address", TEXT),
        sa.Column("key_id", WHOLE, nullable=False),
        sa.Column("user_id", WHOLE, nullable=False),
        sa.Column("occurred_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint(*KEY),
        sa.ForeignKeyConstraint(["site_id", "contact_id"], ["contacts.site_id", "contacts.id"]),
        sa.CheckConstraint("event IN ('subscribed', 'unsubscribed')", name="consent_events_event"),
        **NARROW,
    )
    names = ", ".join(COLUMNS)
    # The index that goes has this order, so that nothing is sorted.
    op.execute(
        f"INSERT INTO consent_events ({names}) SELECT {names} FROM consent_events_before "  # noqa: S608
        f"ORDER BY {', '.join(KEY)}"
    )
    op.drop_table("consent_events_before")
    op.create_index(
        "consent_events_by_time",
        "consent_events",
        ["site_id", "event", "occurred_at", "contact_id", "cause"],
    )
