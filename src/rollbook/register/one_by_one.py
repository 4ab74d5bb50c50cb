"""What is done to several resources in one transaction, to each by itself."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from rollbook.jsonapi.errors import Refused
from rollbook.storage.transactions import Transaction

Item = TypeVar("Item")
Out = TypeVar("Out")


def one_by_one(
    transaction: Transaction,
    items: Sequence[Item],
    site_of: Callable[[Item], int],
    do: Callable[[Transaction, Item], Out | Refused],
) -> list[Out | Refused]:
    """Do something to each item, with the sites of all to oneself, and return the outcomes in their order.

    A refusal is the outcome of its item, returned or raised; who raises it has written nothing of the item.
    """
    sites = [site_of(each) for each in items]
    transaction.lock_sites(sites)
    outcomes: dict[int, Out | Refused] = {}
    # Whatever rows of a site are changed, everybody changes those of a lower one before.
    for at in sorted(range(len(items)), key=sites.__getitem__):
        try:
            outcomes[at] = do(transaction, items[at])
        except Refused as refused:
            outcomes[at] = refused
    return [outcomes[at] for at in range(len(items))]
