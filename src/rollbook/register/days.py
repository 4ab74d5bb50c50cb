"""Totals by day: how many contacts have one of their moments since some time, without counting them."""

from collections.abc import Iterable, Sequence

from sqlalchemy import bindparam, delete, func, insert, literal, select

from rollbook.storage import dialects
from rollbook.storage.statements import InsertRows, Statement
from rollbook.storage.tables import CONTACT_MOMENTS, contacts
from rollbook.storage.tables import contact_days as table
from rollbook.storage.transactions import Snapshot, Transaction

# A site, the name of a moment, the moment or None, and how many contacts more have it.
Change = tuple[int, str, str | None, int]

DAY = len("2026-05-01")

add_to_days = InsertRows(
    dialects.insert_or_add(table, ["site_id", "moment", "day"], table.c.contacts),
    ["site_id", "moment", "day", "contacts"],
)
# The days after the first in whole, and what is left of the first by an index.
count_since = {
    moment: Statement(
        select(
            select(func.coalesce(func.sum(table.c.contacts), 0))
            .where(
                table.c.site_id == bindparam("site_id"),
                table.c.moment == bindparam("moment"),
                table.c.day > bindparam("day"),
            )
            .scalar_subquery()
            + select(func.count())
            .where(
                contacts.c.site_id == bindparam("site_id"),
                contacts.c[moment] >= bindparam("since"),
                contacts.c[moment] < bindparam("day_end"),
            )
            .scalar_subquery()
        )
    )
    for moment in CONTACT_MOMENTS
}

delete_all = Statement(delete(table))
every_day = {
    moment: select(
        contacts.c.site_id,
        literal(moment).label("moment"),
        func.substr(contacts.c[moment], 1, DAY).label("day"),
        func.count().label("contacts"),
    )
    .where(contacts.c[moment].is_not(None))
    .group_by(contacts.c.site_id, func.substr(contacts.c[moment], 1, DAY))
    for moment in CONTACT_MOMENTS
}
add_every_day = tuple(
    Statement(insert(table).from_select(["site_id", "moment", "day", "contacts"], counted))
    for counted in every_day.values()
)


def keep(transaction: Transaction, changes: Iterable[Change]) -> None:
    """Add to the totals of days; call it last, for many transactions change the present day's."""
    sums: dict[tuple[int, str, str], int] = {}
    for site_id, name, moment, amount in changes:
        if moment is not None:
            key = (site_id, name, moment[:DAY])
            sums[key] = sums.get(key, 0) + amount
    transaction.insert(add_to_days, [(*key, sums[key]) for key in sorted(sums) if sums[key]])


def since(snapshot: Snapshot, sites: Sequence[int], name: str, moment: str) -> int:
    """Return how many contacts of the sites have the named moment then or later."""
    day = moment[:DAY]
    # In the order of the texts, this comes after every moment of the day.
    asked = {"moment": name, "since": moment, "day": day, "day_end": f"{day}T24"}
    found = [snapshot.rows(count_since[name], asked | {"site_id": site_id}) for site_id in sites]
    return sum(int(rows[0][0]) for rows in found)


def count_anew(transaction: Transaction) -> None:
    """Count all days anew, where moments were changed by hand."""
    transaction.run(delete_all)
    for statement in add_every_day:
        transaction.run(statement)
