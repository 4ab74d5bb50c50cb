"""Keys that any database can index: long ones become their beginning with a hash; PostgreSQL begins here."""

import hashlib
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

LONGEST_KEY_BYTES = 1_000
# Which columns are keys, with the primary key of their table.
KEYS = {
    "contacts": ("email_key",),
    "contact_tags": ("unique_name",),
}


def upgrade() -> None:
    """Shorten the keys that are too long, or make all tables where there are none."""
    if op.get_context().dialect.name == "postgresql":
        script = Path(__file__).with_name("0003_postgresql.sql").read_text()
        for statement in script.split(";\n\n"):
            op.get_bind().exec_driver_sql(statement.rstrip(";\n"))
        return
    connection = op.get_bind()
    for name, columns in KEYS.items():
        table = sa.table(name, sa.column("site_id"), sa.column("id"), *map(sa.column, columns))
        for key in (table.c[column] for column in columns):
            of_row = table.c.site_id == sa.bindparam("of_site"), table.c.id == sa.bindparam("of_id")
            shorten = sa.update(table).where(*of_row).values({key.name: sa.bindparam("shorter")})
            is_long = sa.func.length(key) > LONGEST_KEY_BYTES // 4
            long = sa.select(table.c.site_id, table.c.id, key).where(is_long)
            for site_id, row_id, value in connection.execute(long).all():
                values = {"of_site": site_id, "of_id": row_id, "shorter": _short(value)}
                connection.execute(shorten, values)


def _short(key: str) -> str:
    """Return what `register.text.index_key` makes of a key; written down here, for it must not change."""
    encoded = key.encode()
    if len(encoded) <= LONGEST_KEY_BYTES:
        return key
    digest = hashlib.sha256(encoded).hexdigest()
    return encoded[: LONGEST_KEY_BYTES - len(digest)].decode(errors="ignore") + digest
