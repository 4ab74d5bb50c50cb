"""Copies a register of many contacts from SQLite to PostgreSQL and back, and prints what that costs.

    python benchmarks/copying.py postgresql://... [--contacts 1000000] [--folder DIR]

The URL names an empty database. A part of the contacts is made by the register's own operations, the rest are
their likes, made by SQL. `rollbook db copy` runs in a process of its own, whose peak memory is measured.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Table

from flatness import world
from rollbook.register import upkeep
from rollbook.storage import tables
from rollbook.storage.database import Database

FIRST = 20_000
STEP = 100_000
PYTHON = sys.executable

# The k-th like of each row: ids are moved on, texts that are unique differ.
MOVED = "{column} + {{step}}"
OTHER = "{column} || ' k' || {{number}}"
OTHER_EMAIL = "replace({column}, '@', 'k' || {{number}} || '@')"


def likes(table: Table, key: str, changed: Mapping[str, str]) -> str:
    """Return what inserts the likes of the first rows of a table, by `key`, with some columns changed."""
    names = [column.name for column in table.columns]
    values = [changed.get(name, "{column}").format(column=name) for name in names]
    return (
        f"INSERT INTO {table.name} ({', '.join(names)}) SELECT {', '.join(values)} FROM {table.name} "
        f"WHERE {key} < (SELECT min({key}) + {{first}} FROM {table.name}) ORDER BY {key}"
    )


LIKES = (
    likes(
        tables.contacts,
        "id",
        {"id": MOVED, "name": OTHER, "name_key": OTHER, "email": OTHER_EMAIL, "email_key": OTHER_EMAIL},
    ),
    likes(tables.contact_taggings, "contact_id", {"contact_id": MOVED}),
    likes(tables.consent_events, "contact_id", {"id": MOVED, "contact_id": MOVED}),
    likes(tables.audit_events, "id", {"id": MOVED, "resource_id": MOVED}),
)
TOGETHER = (
    "INSERT INTO search_backlog SELECT site_id, id FROM contacts "
    "WHERE id >= (SELECT min(id) + {first} FROM contacts)",
    "UPDATE contact_counts SET contacts = contacts * {number}, subscribed = subscribed * {number}, "
    "never_subscribed = never_subscribed * {number}",
    "UPDATE contact_tags SET contacts = contacts * {number}",
    "UPDATE id_leases SET next_id = next_id + {step} WHERE kind <> 'sites'",
)


def main() -> None:
    """Make the register where it is not there, copy it there and back, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("postgresql")
    parser.add_argument("--contacts", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "rollbook-copying")
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True)
    first, back = given.folder / "first.db", given.folder / "back.db"
    filled = first.with_suffix(".filled")
    if not filled.exists():
        database = world(first, FIRST, FIRST).database
        multiply(database, given.contacts // FIRST)
        upkeep.recount(database)
        upkeep.finish(database)
        database.close()
        filled.touch()
    back.unlink(missing_ok=True)
    one = copy(f"sqlite:///{first}", given.postgresql)
    other = copy(given.postgresql, f"sqlite:///{back}")
    print(f"The digests are {'equal' if one == other else 'not equal'}.")


def multiply(database: Database, times: int) -> None:
    """Add the likes of all contacts until there are so many times as many."""
    with database.transaction() as transaction:
        for sql, numbers in (
            *((sql, range(1, times)) for sql in LIKES),
            *((sql, range(times, times + 1)) for sql in TOGETHER),
        ):
            for number in numbers:
                first = STEP if "audit" in sql else FIRST
                transaction._session.order(sql.format(step=STEP * number, number=number, first=first))


def copy(source: str, target: str) -> str:
    """Copy a register, print what that costs, and return the digests."""
    began = time.monotonic()
    process = subprocess.Popen(
        [PYTHON, "-m", "rollbook", "db", "copy", source, target], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    peak = f"{usage.ru_maxrss / 1024:.0f} MiB"
    print(f"{seconds:.0f} s, {usage.ru_utime:.0f} s of processor, {peak}, exit {status}")
    return "\n".join(line for line in printed.splitlines() if "SHA-256" in line)


if __name__ == "__main__":
    main()
