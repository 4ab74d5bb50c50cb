"""Allots ids in blocks that are leased from a table, so that no engine needs a sequence."""

from sqlalchemy import bindparam, update

from rollbook.storage.statements import Statement
from rollbook.storage.tables import id_leases
from rollbook.storage.transactions import Transaction

BLOCK = 1000

lease_a_block = Statement(
    update(id_leases)
    .where(id_leases.c.kind == bindparam("of_kind"))
    .values(next_id=id_leases.c.next_id + bindparam("block"))
    .returning(id_leases.c.next_id)
)


class Allotter:
    """Hands out ids of a kind, each once; whole numbers below 2^53.

    A block is leased in the transaction that first needs it. Should that one be rolled back, the block is
    forgotten, for the table then offers it again.
    """

    def __init__(self) -> None:
        self._blocks: dict[str, range] = {}
        self._leased_now: set[str] = set()

    def take(self, transaction: Transaction, kind: str, count: int) -> list[int]:
        """Return `count` ids, ascending, that nothing else has or will have."""
        ids: list[int] = []
        while len(ids) < count:
            block = self._blocks.get(kind) or self._lease(transaction, kind)
            wanted = count - len(ids)
            ids.extend(block[:wanted])
            self._blocks[kind] = block[wanted:]
        return ids

    def committed(self) -> None:
        """Keep the blocks that the ended transaction leased."""
        self._leased_now.clear()

    def rolled_back(self) -> None:
        """Forget the blocks that the ended transaction leased."""
        for kind in self._leased_now:
            self._blocks.pop(kind, None)
        self._leased_now.clear()

    def _lease(self, transaction: Transaction, kind: str) -> range:
        row = transaction.row(lease_a_block, {"of_kind": kind, "block": BLOCK})
        if row is None:
            raise LookupError(f"no ids are kept for {kind!r}: its migration must add a row to id_leases")
        self._leased_now.add(kind)
        return range(row[0] - BLOCK, row[0])
