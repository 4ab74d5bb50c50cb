"""Totals by day, moments of consent on the contacts, taggings as sets: what filters need not count."""

import itertools
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from alembic import op

from rollbook.storage.dialects import NARROW, STRICT, TEXT, WHOLE

revision = "0004"
down_revision = "0003"

# Each new moment of a contact, with the consent events of which it is the last.
OF_EVENTS = {
    "subscribed_at": "event = 'subscribed'",
    "unsubscribed_at": "event = 'unsubscribed'",
    "manually_unsubscribed_at": "event = 'unsubscribed' AND cause = 'administrator'",
    "opted_out_at": "event = 'unsubscribed' AND cause = 'recipient'",
}
TOTALS = ("created", "subscribed", "unsubscribed", "manually_unsubscribed", "opted_out")
# As in register/members.py; written down here, for they must not change.
BLOCK = 32_000
FEW = 128


def upgrade() -> None:
    """Make what is kept, and fill it for what is there."""
    for moment in OF_EVENTS:
        op.add_column("contacts", sa.Column(moment, TEXT, nullable=True))
    op.create_table(
        "contact_days",
        sa.Column("site_id", WHOLE, nullable=False),
        sa.Column("day", TEXT, nullable=False),
        *(sa.Column(name, WHOLE, nullable=False) for name in TOTALS),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"]),
        sa.PrimaryKeyConstraint("site_id", "day"),
        **NARROW,
    )
    op.create_table(
        "contact_tag_members",
        sa.Column("site_id", WHOLE, nullable=False),
        sa.Column("tag_id", WHOLE, nullable=False),
        sa.Column("subscription", WHOLE, nullable=False),
        sa.Column("block", WHOLE, nullable=False),
        sa.Column("members", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["site_id", "tag_id"], ["contact_tags.site_id", "contact_tags.id"]),
        sa.PrimaryKeyConstraint("site_id", "tag_id", "subscription", "block"),
        **STRICT,
    )
    _fill_moments()
    _fill_days()
    _fill_members()


def _fill_moments() -> None:
    """Note the last moments in one pass through the ledger; a look-up for each contact would take hours."""
    noted = ", ".join(f"{moment} = of_contact.{moment}" for moment in OF_EVENTS)
    moments = ", ".join(
        f"max(CASE WHEN {events} THEN occurred_at END) AS {moment}" for moment, events in OF_EVENTS.items()
    )
    op.execute(
        f"UPDATE contacts SET {noted} "  # noqa: S608
        f"FROM (SELECT site_id, contact_id, {moments} FROM consent_events GROUP BY site_id, contact_id) "
        "AS of_contact WHERE contacts.site_id = of_contact.site_id AND contacts.id = of_contact.contact_id"
    )


def _fill_days() -> None:
    moments = ("created_at", *OF_EVENTS)
    counted = " UNION ALL ".join(
        f"SELECT site_id, substr({moment}, 1, 10) AS day, "  # noqa: S608
        + ", ".join(f"{int(at == place)} AS {name}" for place, name in enumerate(TOTALS))
        + f" FROM contacts WHERE {moment} IS NOT NULL"
        for at, moment in enumerate(moments)
    )
    names, sums = ", ".join(TOTALS), ", ".join(f"sum({name})" for name in TOTALS)
    op.execute(
        f"INSERT INTO contact_days (site_id, day, {names}) "  # noqa: S608
        f"SELECT site_id, day, {sums} FROM ({counted}) AS counted GROUP BY site_id, day"
    )


def _fill_members() -> None:
    connection = op.get_bind()
    tags = connection.execute(sa.text("SELECT site_id, id FROM contact_tags ORDER BY site_id, id")).all()
    for site_id, tag_id in tags:
        members = connection.execute(
            sa.text(
                "SELECT c.subscription, c.id FROM contact_taggings t "
                "JOIN contacts c ON c.site_id = t.site_id AND c.id = t.contact_id "
                "WHERE t.site_id = :site AND t.tag_id = :tag ORDER BY c.subscription, c.id"
            ),
            {"site": site_id, "tag": tag_id},
        )
        rows = [
            {"site": site_id, "tag": tag_id, "state": state, "block": block, "members": _packed(group)}
            for (state, block), group in itertools.groupby(members, lambda row: (row[0], row[1] // BLOCK))
        ]
        if rows:
            connection.execute(
                sa.text("INSERT INTO contact_tag_members VALUES (:site, :tag, :state, :block, :members)"),
                rows,
            )


def _packed(members: Iterable[Any]) -> bytes:
    """Return ids of one block: few as two bytes each, many as a bit for each id."""
    places: list[int] = [contact_id % BLOCK for _, contact_id in members]
    if len(places) <= FEW:
        return b"".join(place.to_bytes(2, "little") for place in places)
    packed = bytearray(BLOCK // 8)
    for place in places:
        packed[place // 8] |= 1 << place % 8
    return bytes(packed)
