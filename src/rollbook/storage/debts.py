"""What transactions leave to be done later: how it is done, and how much of it may be left meanwhile."""

from collections.abc import Callable
from typing import NamedTuple

from rollbook.storage.transactions import Snapshot, Transaction

# A search looks at each contact that its index does not have yet, about a microsecond for each; while nobody
# searches, what is left makes nothing slower.
MOST_OWED, MOST_OWED_WHERE_FELT = 32_768, 1_024
# So much is done at once.
PORTION = 256
# Who writes no more than that in a moment does not notice that a portion is done.
FEW_WRITTEN = 16
# Once it is felt, a long debt is paid back by many who write, not by one who waits for all of it.
PAID_BACK_AT_ONCE = 512


def is_quiet(written: float, owed: int) -> bool:
    """Say whether so little was written in a moment that some of what is owed can be done."""
    return written == 0 or (written < FEW_WRITTEN and owed >= PORTION)


class Upkeep(NamedTuple):
    """What does what transactions owe.

    `owed` counts what is owed when a server begins. `do_some` does a part of it, and returns how much that
    was, 0 where nothing is left; it is called in quiet moments, and whenever too much is owed. `tidy` is
    called after that, where it is done beside the writer, once nobody has written for a moment. `is_felt`
    says whether somebody reads what becomes slower by what is owed.
    """

    owed: Callable[[Snapshot], int]
    do_some: Callable[[Transaction], int]
    tidy: Callable[[Transaction], None]
    is_felt: Callable[[], bool]

    def most_owed(self, owed: int) -> int:
        """Return how much may be owed when the next transaction begins, of so much that is owed now."""
        if not self.is_felt():
            return MOST_OWED
        return max(MOST_OWED_WHERE_FELT, min(MOST_OWED, owed - PAID_BACK_AT_ONCE))
