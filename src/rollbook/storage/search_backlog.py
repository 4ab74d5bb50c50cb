"""The contacts whose texts the search index does not have yet: which of them are next."""

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, literal_column, select, true

from rollbook.storage.debts import PORTION
from rollbook.storage.statements import Row, Statement
from rollbook.storage.tables import contacts as table
from rollbook.storage.tables import search_backlog as backlog
from rollbook.storage.transactions import Transaction


def _next(*columns: ColumnElement[Any]) -> Select[Any]:
    # A planner that does not know its size would read all contacts for each portion.
    return (
        select(*columns).order_by(backlog.c.site_id, backlog.c.contact_id).limit(literal_column(str(PORTION)))
    )


class NextContacts:
    """The question for some columns of the contacts that are indexed next; `statements` asks it in the words
    of each database.
    """

    def __init__(self, *columns: str) -> None:
        portion = _next(backlog.c.site_id, backlog.c.contact_id).subquery("portion")
        of_contact = and_(table.c.site_id == portion.c.site_id, table.c.id == portion.c.contact_id)
        wanted = [table.c[name] for name in ("site_id", "id", *columns)]
        joined = select(*wanted).select_from(portion).join(table, of_contact)
        # PostgreSQL would rather read ten thousand contacts than look up some hundreds, and keep that plan
        # while they become more; what is looked up for each leaves it no choice, where it cannot be merged
        # (OFFSET).
        each = select(*wanted).where(of_contact).offset(literal_column("0")).lateral("each")
        looked_up = select(*each.c).select_from(portion).join(each, true())
        order = (portion.c.site_id, portion.c.contact_id)
        self.statements = {
            "sqlite": Statement(joined.order_by(*order), only="sqlite"),
            "postgresql": Statement(looked_up.order_by(*order), only="postgresql"),
        }

    def rows(self, transaction: Transaction) -> list[Row]:
        """Return the site, the id and the columns of each."""
        return transaction.rows(self.statements[transaction.dialect_name])


next_sites = Statement(_next(backlog.c.site_id))
