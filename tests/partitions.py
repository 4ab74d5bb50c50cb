"""A schema whose tables of sites are partitions by the site: what migrations make, made so as they make it."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine, event

PARTITIONS = 4
CREATED = re.compile(r"CREATE TABLE (\w+) \((.*\bsite_id\b.*)\)", re.DOTALL)


def partitioned(sql: str) -> str:
    """Return a statement of a migration, with partitions where it makes a table of sites.

    PostgreSQL takes it as it would take it for the tables of many machines: only where each unique index has
    the site, and each reference to such a table names it.
    """
    found = CREATED.fullmatch(sql.strip().removesuffix(";"))
    if found is None:
        return sql
    table = found[1]
    parts = [
        f"CREATE TABLE {table}_of_{number} PARTITION OF {table} "
        f"FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {number})"
        for number in range(PARTITIONS)
    ]
    return "; ".join([f"{found[0]} PARTITION BY HASH (site_id)", *parts])


@contextlib.contextmanager
def made_by_migrations() -> Iterator[None]:
    """Have the migrations within the block make partitions."""

    def rewrite(_connection: Any, _cursor: Any, sql: str, values: Any, *_: Any) -> tuple[str, Any]:
        return partitioned(sql), values

    event.listen(Engine, "before_cursor_execute", rewrite, retval=True)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", rewrite)
