"""Copies a register: its tables, the proof that they are alike, and a search index of its own."""

from collections.abc import Generator

from rollbook.register import upkeep
from rollbook.storage import copying
from rollbook.storage.copying import Proof, Tell
from rollbook.storage.database import Database


def copy(source: Database, target: Database, tell: Tell) -> Generator[Proof, None, None]:
    """Copy a register into an empty database, or complete a copy; answer for each table what it holds.

    Where a table is not alike, the copy stays unfinished. Raises StorageError where it cannot be made.
    """
    alike = True
    with copying.under_way(source, target) as copy:
        copy.carry(tell)
        for proof in copy.proofs(tell):
            alike = alike and proof.is_alike
            yield proof
        if alike:
            # After the proof: indexing mends keys that an older program made.
            tell.begin("search index", "contacts", upkeep.owed(target))
            upkeep.index_all(target, tell.advance)
            tell.end()
            copy.complete()
