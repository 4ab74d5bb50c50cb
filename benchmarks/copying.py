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
from pathlib import Path

from flatness import world
from rollbook.storage.database import Database

FIRST = 20_000
STEP = 100_000
PYTHON = sys.executable

# The k-th like of each row: ids are moved on, texts that are unique differ.
LIKES = (
    "INSERT INTO contacts SELECT site_id, id + {step}, name || ' k' || {number}, "
    "replace(email, '@', 'k' || {number} || '@'), address_line_1, address_line_2, address_city, "
    "address_country, address_state, address_zip, phone_number, business_number, "
    "mobile_phone_number, subscription, external_user_id, custom, created_at, updated_at, "
    "name_key || ' k' || {number}, replace(email_key, '@', 'k' || {number} || '@'), search_keys, tag_ids "
    "FROM contacts WHERE id < (SELECT min(id) + {first} FROM contacts) ORDER BY id",
    "INSERT INTO contact_taggings SELECT site_id, contact_id + {step}, tag_id, contact_created_at "
    "FROM contact_taggings WHERE contact_id < (SELECT min(id) + {first} FROM contacts)",
    "INSERT INTO consent_events SELECT site_id, id + {step}, contact_id + {step}, event, cause, source, "
    "wording, ip_address, key_id, user_id, occurred_at FROM consent_events "
    "WHERE contact_id < (SELECT min(id) + {first} FROM contacts)",
    "INSERT INTO audit_events "
    "SELECT site_id, id + {step}, action, resource_id + {step}, key_id, user_id, occurred_at "
    "FROM audit_events WHERE id < (SELECT min(id) + {first} FROM audit_events)",
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
    if not first.with_suffix(".tags").exists():
        database = world(first, FIRST).database
        multiply(database, given.contacts // FIRST)
        database.close()
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
