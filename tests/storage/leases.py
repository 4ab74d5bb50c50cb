"""What the tests of storage do with a database: leases of ids, which no rule is about."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import bindparam, insert, select

from rollbook.storage import tables
from rollbook.storage.database import Database
from rollbook.storage.statements import InsertRows, Statement
from rollbook.storage.transactions import Snapshot, Transaction

add_lease = InsertRows(insert(tables.id_leases), ["kind", "next_id"])
leases = Statement(
    select(tables.id_leases.c.kind, tables.id_leases.c.next_id).order_by(tables.id_leases.c.kind)
)
add_user = InsertRows(insert(tables.users), ["id", "name", "email", "role_level", "created_at"])
every_user = Statement(select(tables.users.c.id))
lease = Statement(select(tables.id_leases.c.next_id).where(tables.id_leases.c.kind == bindparam("kind")))


def served(database: Database, work: Callable[[], Awaitable[Any]], max_waiting: int = 100) -> Any:
    """Run a coroutine with the database's threads started."""

    async def main() -> Any:
        database.start(max_waiting)
        try:
            return await work()
        finally:
            await database.stop()

    return asyncio.run(main())


async def write(database: Database, *asked: Any, **more: Any) -> Any:
    """Write once this is awaited, so that a refusal is an outcome like others."""
    return await database.write(*asked, **more)


def add_kinds(transaction: Transaction, kinds: list[str]) -> list[str | Exception]:
    """Add a lease for each kind; one named `refused` is refused, one named `breaks` breaks the transaction."""
    transaction.insert(add_lease, [(kind, 1) for kind in kinds if kind not in ("refused", "breaks")])
    if "breaks" in kinds:
        raise ValueError("broken")
    return [ValueError(kind) if kind == "refused" else kind for kind in kinds]


def add_users(transaction: Transaction, ids: list[int]) -> list[None]:
    """Change a table whose content is remembered."""
    moment = "2026-05-01T10:00:00.000Z"
    transaction.insert(add_user, [(each, "Ines", f"{each}@example.test", "owner", moment) for each in ids])
    return [None] * len(ids)


def kinds_of(snapshot: Snapshot, beginning: str) -> list[str]:
    return [row[0] for row in snapshot.rows(leases) if row[0].startswith(beginning)]
