"""Totals by day: how many contacts have one of their moments since some time, without counting them."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, delete, func, insert, literal, select, union_all

from rollbook.register.one_or_many import OfSites, OneOrMany
from rollbook.storage import dialects
from rollbook.storage.statements import InsertRows, Statement
from rollbook.storage.tables import CONTACT_MOMENTS, contacts
from rollbook.storage.tables import consent_events as ledger
from rollbook.storage.tables import contact_days as table
from rollbook.storage.transactions import Snapshot, Transaction

SUBSCRIBED = "subscribed"
UNSUBSCRIBED = "unsubscribed"
ADMINISTRATOR = "administrator"
RECIPIENT = "recipient"

# The events whose last is one of a contact's moments, in the order of CONTACT_MOMENTS.
CONSENT_MOMENTS = CONTACT_MOMENTS[1:]
EVENTS: dict[str, ColumnElement[bool]] = dict(
    zip(
        CONSENT_MOMENTS,
        (
            ledger.c.event == SUBSCRIBED,
            ledger.c.event == UNSUBSCRIBED,
            (ledger.c.event == UNSUBSCRIBED) & (ledger.c.cause == ADMINISTRATOR),
            (ledger.c.event == UNSUBSCRIBED) & (ledger.c.cause == RECIPIENT),
        ),
        strict=True,
    )
)
# A site, a day, and how many contacts more have each of their moments then.
Change = tuple[int, str, int, int, int, int, int]
TOTALS = [moment.removesuffix("_at") for moment in CONTACT_MOMENTS]
DAY = len("2026-05-01")

add_to_days = InsertRows(
    dialects.insert_or_add(table, ["site_id", "day"], *(table.c[name] for name in TOTALS)),
    ["site_id", "day", *TOTALS],
)


def _count_since(moment: str, of_sites: OfSites) -> Select[Any]:
    """Return the question how many have a moment since: whole days, and by an index the rest of one."""
    days = select(func.coalesce(func.sum(table.c[moment.removesuffix("_at")]), 0)).where(
        of_sites(table.c.site_id), table.c.day > bindparam("day")
    )
    if moment in EVENTS:
        rest = (
            select(func.count(ledger.c.contact_id.distinct()))
            .join_from(
                ledger,
                contacts,
                (contacts.c.site_id == ledger.c.site_id) & (contacts.c.id == ledger.c.contact_id),
            )
            .where(of_sites(ledger.c.site_id), EVENTS[moment])
            .where(ledger.c.occurred_at >= bindparam("since"), ledger.c.occurred_at < bindparam("day_end"))
            .where(contacts.c[moment] < bindparam("day_end"))
        )
    else:
        rest = select(func.count()).where(
            of_sites(contacts.c.site_id),
            contacts.c[moment] >= bindparam("since"),
            contacts.c[moment] < bindparam("day_end"),
        )
    return select(days.scalar_subquery() + rest.scalar_subquery())


def _ids_since(moment: str, of_sites: OfSites) -> Select[Any]:
    """Return the question who has an event of a kind since."""
    events = select(ledger.c.contact_id).distinct().where(of_sites(ledger.c.site_id), EVENTS[moment])
    return events.where(ledger.c.occurred_at >= bindparam("since"))


count_since = {moment: OneOrMany(partial(_count_since, moment)) for moment in CONTACT_MOMENTS}
ids_since = {moment: OneOrMany(partial(_ids_since, moment)) for moment in EVENTS}
delete_all = Statement(delete(table))
_days_of_moments = union_all(
    *(
        select(
            contacts.c.site_id,
            func.substr(contacts.c[moment], 1, DAY).label("day"),
            *(
                literal(int(each == moment)).label(name)
                for each, name in zip(CONTACT_MOMENTS, TOTALS, strict=True)
            ),
        ).where(contacts.c[moment].is_not(None))
        for moment in CONTACT_MOMENTS
    )
).subquery()
every_day = select(
    _days_of_moments.c.site_id,
    _days_of_moments.c.day,
    *(func.sum(_days_of_moments.c[name]).label(name) for name in TOTALS),
).group_by(_days_of_moments.c.site_id, _days_of_moments.c.day)
add_every_day = Statement(insert(table).from_select(["site_id", "day", *TOTALS], every_day))


def keep(transaction: Transaction, changes: Iterable[Change]) -> None:
    """Add to the totals of days; call it last, for many transactions change the present day's."""
    sums: dict[tuple[int, str], tuple[int, ...]] = {}
    for site_id, day, *amounts in changes:
        known = sums.get((site_id, day))
        sums[site_id, day] = (
            tuple(amounts) if known is None else tuple(map(sum, zip(known, amounts, strict=True)))
        )
    transaction.insert(add_to_days, [(*key, *sums[key]) for key in sorted(sums) if any(sums[key])])


def of_moments(site_id: int, moments: Sequence[str | None], amount: int) -> list[Change]:
    """Return the changes for so many contacts with these moments, in the order of CONTACT_MOMENTS."""
    changes: list[Any] = []
    for at, moment in enumerate(moments):
        if moment is not None:
            changes.append((site_id, moment[:DAY], *(amount * (place == at) for place in range(len(TOTALS)))))
    return changes


def since(snapshot: Snapshot, sites: Sequence[int], name: str, moment: str) -> int:
    """Return how many contacts of the sites have the named moment then or later."""
    day = moment[:DAY]
    # In the order of the texts, this comes after every moment of the day.
    asked = {"since": moment, "day": day, "day_end": f"{day}T24"}
    ((many,),) = count_since[name].rows(snapshot, sites, asked)
    return int(many)


def contacts_since(snapshot: Snapshot, sites: Sequence[int], name: str, moment: str) -> list[int]:
    """Return the ids of the contacts of the sites that have the named moment of consent then or later."""
    return [row[0] for row in ids_since[name].rows(snapshot, sites, {"since": moment})]


def count_anew(transaction: Transaction) -> None:
    """Count all days anew, where moments were changed by hand."""
    transaction.run(delete_all)
    transaction.run(add_every_day)
