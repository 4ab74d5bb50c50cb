"""Questions to sites, of which most askers see one and some see hundreds: a statement for either."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Select, bindparam

from rollbook.storage import dialects
from rollbook.storage.statements import Row, Statement
from rollbook.storage.transactions import NOTHING, Snapshot

OfSites = Callable[[ColumnElement[Any]], ColumnElement[bool]]


class OneOrMany:
    """A question that costs one statement, however many sites it is about.

    It is written once, by a function that is given what binds a column to the sites.
    """

    __slots__ = ("many", "one")

    def __init__(self, question: Callable[[OfSites], Select[Any]]) -> None:
        # A list of one would be read, and planned for as if it had several.
        self.one = Statement(question(lambda site: site == bindparam("site_id")))
        self.many = Statement(question(lambda site: dialects.among(site, bindparam("sites"))))

    def rows(
        self, snapshot: Snapshot, sites: Sequence[int], values: Mapping[str, Any] = NOTHING
    ) -> list[Row]:
        """Return what the question finds in these sites."""
        if len(sites) == 1:
            return snapshot.rows(self.one, {**values, "site_id": sites[0]})
        return snapshot.rows(self.many, {**values, "sites": orjson.dumps(sites).decode()})
