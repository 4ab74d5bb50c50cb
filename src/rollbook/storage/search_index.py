"""The search index: which contacts have which tokens; each database has an index of its own kind.

SQLite has a table of FTS5 whose words are ours: everything but the separator belongs to a token, whatever
Unicode calls it. It is contentless, for the texts are in their own table, and without positions, for they
are not needed. PostgreSQL has lists of tokens (`tsvector`) with an inverted index over them.
"""

import itertools
import json
import math
import time
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    bindparam,
    cast,
    column,
    delete,
    func,
    insert,
    literal_column,
    select,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from rollbook.storage import dialects
from rollbook.storage.dialects import Condition
from rollbook.storage.statements import InsertRows, Statement
from rollbook.storage.transactions import Snapshot, Transaction
from rollbook.storage.tsvectors import tsvector

# Between the tokens of a text; a gram that contains one is indexed with a space instead.
SEPARATOR = "\x1f"
# Whoever types, or turns pages, asks again within this.
ASKED_SECONDS = 2.0

CREATE = {
    "sqlite": (
        "CREATE VIRTUAL TABLE contact_search "
        "USING fts5(grams, content='', contentless_delete=1, detail=none, "
        "tokenize=\"unicode61 remove_diacritics 0 categories 'L* M* N* P* S* Z* C*' separators '\x1f'\")",
    ),
    "postgresql": (
        "CREATE TABLE contact_search (site_id bigint NOT NULL, contact_id bigint NOT NULL, "
        "grams tsvector NOT NULL, PRIMARY KEY (site_id, contact_id))",
        # Each search reads all of what waits to be merged into the index, which is thus kept to so many KiB
        # while contacts are written, and merged in the next quiet moment.
        "CREATE INDEX contact_search_by_gram ON contact_search USING gin (grams) "
        "WITH (gin_pending_list_limit = 256)",
    ),
}
# The inverted index is made anew after many contacts were added, which costs less than adding to it.
BEFORE_FILLING = {"sqlite": (), "postgresql": ("DROP INDEX IF EXISTS contact_search_by_gram",)}
AFTER_FILLING = {"sqlite": (), "postgresql": CREATE["postgresql"][1:]}
# Of the pages that a burst has left in many segments, each of which a search looks at, so many are merged.
_merge_segments = Statement(
    text("INSERT INTO contact_search(contact_search, rank) VALUES ('merge', 256)"), only="sqlite"
)
OPTIMIZE = "INSERT INTO contact_search(contact_search) VALUES ('optimize')"

_sqlite = table("contact_search", column("rowid"), column("grams"))
_postgresql = table("contact_search", column("site_id"), column("contact_id"), column("grams"))

_add_on_sqlite = InsertRows(insert(_sqlite).prefix_with("OR REPLACE"), ["rowid", "grams"], only="sqlite")
_add_on_postgresql = InsertRows(insert(_postgresql), ["site_id", "contact_id", "grams"], only="postgresql")
_remove_on_sqlite = Statement(
    delete(_sqlite).where(_sqlite.c.rowid == bindparam("contact_id")), only="sqlite"
)
_remove_on_postgresql = Statement(
    delete(_postgresql).where(
        dialects.among(_postgresql.c.site_id, bindparam("site_ids")),
        dialects.among(_postgresql.c.contact_id, bindparam("contact_ids")),
    ),
    only="postgresql",
)
_matching = {
    "sqlite": select(_sqlite.c.rowid).where(
        literal_column("contact_search").op("MATCH")(bindparam("asked")),
    ),
    "postgresql": select(_postgresql.c.contact_id).where(
        _postgresql.c.grams.op("@@")(cast(bindparam("asked"), TSQUERY))
    ),
}
# Each site's question for itself, by a plan like that of one alone, whatever number of them is expected.
MATCHING_EACH = (
    "SELECT found.contact_id FROM unnest(CAST({} AS tsquery[])) AS asked(query) CROSS JOIN LATERAL "
    "(SELECT contact_id FROM contact_search WHERE grams @@ asked.query OFFSET 0) AS found"
)
_count_up_to = {
    name: Statement(select(func.count()).select_from(found.limit(bindparam("limit")).subquery()), only=name)
    for name, found in _matching.items()
}
_count_each_up_to = Statement(
    text(f"SELECT count(*) FROM ({MATCHING_EACH.format(':asked')} LIMIT :limit) AS counted"),
    only="postgresql",
)
# Of a table in parts, each part has an index of its own.
merge_pending_list = Statement(
    text(
        "SELECT sum(gin_clean_pending_list(each.indexrelid)) FROM pg_index AS each "
        "JOIN pg_class ON pg_class.oid = each.indexrelid JOIN pg_am ON pg_am.oid = pg_class.relam "
        "WHERE pg_am.amname = 'gin' AND pg_class.relkind = 'i' "
        "AND (each.indrelid = to_regclass('contact_search') OR each.indrelid IN "
        "(SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('contact_search')))"
    ),
    only="postgresql",
)

_additions = itertools.count(1)
_last_addition = 0
_last_asked = -math.inf


class Entry(NamedTuple):
    """The tokens of a contact, joined by the separator."""

    site_id: int
    contact_id: int
    tokens: str


def put(transaction: Transaction, entries: Sequence[Entry]) -> None:
    """Make contacts findable by these tokens alone."""
    global _last_addition
    _last_addition = next(_additions)
    if transaction.dialect_name == "sqlite":
        transaction.insert(_add_on_sqlite, [(each.contact_id, each.tokens) for each in entries])
        return
    _remove(transaction, {each.site_id for each in entries}, [each.contact_id for each in entries])
    rows = [(*each[:2], tsvector(each.tokens.split(SEPARATOR))) for each in entries]
    transaction.insert(_add_on_postgresql, rows)


def put_last(transaction: Transaction, entries: Sequence[Entry]) -> None:
    """Do what `put` does, and have searches look at fewer segments than what was put before has left."""
    put(transaction, entries)
    if transaction.dialect_name == "sqlite":
        transaction.run(_merge_segments)


def tidy(transaction: Transaction) -> None:
    """Have searches read nothing beside the index; for a quiet moment."""
    if transaction.dialect_name == "postgresql":
        transaction.run(merge_pending_list)


def additions() -> int:
    """Return a number that is another after each addition to an index by this process."""
    return _last_addition


def note_asked() -> None:
    """Note that this process asks an index."""
    global _last_asked
    _last_asked = time.monotonic()


def is_asked() -> bool:
    """Say whether this process has asked an index just now, and so may ask again."""
    return time.monotonic() - _last_asked < ASKED_SECONDS


def remove(transaction: Transaction, site_id: int, contact_id: int) -> None:
    """Make a contact no longer findable."""
    if transaction.dialect_name == "sqlite":
        transaction.run(_remove_on_sqlite, {"contact_id": contact_id})
    else:
        _remove(transaction, {site_id}, [contact_id])


def _remove(transaction: Transaction, site_ids: Collection[int], contact_ids: Collection[int]) -> None:
    values = {"site_ids": json.dumps(sorted(site_ids)), "contact_ids": json.dumps(list(contact_ids))}
    transaction.run(_remove_on_postgresql, values)


def count_up_to(snapshot: Snapshot, asked: str, limit: int, *, of_many: bool = False) -> int:
    """Return how many contacts have the tokens that a question asks for, or the limit where more have.

    The question is one `of_many` sites where `narrowed` made it so.
    """
    statement = _count_up_to[snapshot.dialect_name]
    if of_many and snapshot.dialect_name == "postgresql":
        statement = _count_each_up_to
    return int(snapshot.rows(statement, {"asked": asked, "limit": limit})[0][0])


def as_tsquery_token(token: str) -> str:
    """Return a token as `tsquery` reads it."""
    return "'" + token.replace("\\", "\\\\").replace("'", "''") + "'"


class _HasTokens(Condition):
    """A contact has the tokens that a question asks for."""

    def __init__(self, contact_id: Column[Any], asked: Any, unindexed: Select[Any], of_many: bool) -> None:
        self.contact_id = contact_id
        self.asked = asked
        self.unindexed = unindexed
        self.of_many = of_many


@compiles(_HasTokens)
def _has_tokens(element: _HasTokens, compiler: SQLCompiler, **kw: Any) -> str:
    matching = "SELECT rowid FROM contact_search WHERE contact_search MATCH {}"
    return f"{compiler.process(element.contact_id, **kw)} IN ({_found(element, compiler, matching, kw)})"


@compiles(_HasTokens, "postgresql")
def _has_tokens_on_postgresql(element: _HasTokens, compiler: SQLCompiler, **kw: Any) -> str:
    # As a query of its own it tells the planner nothing; else each search would be planned anew, by what it
    # asks for, which takes longer than the search, and finds the same plan.
    matching = "SELECT contact_id FROM contact_search WHERE grams @@ (SELECT CAST({} AS tsquery))"
    ids = _found(element, compiler, MATCHING_EACH if element.of_many else matching, kw)
    # As an array, they can only be looked up by the primary key: PostgreSQL would now and then rather
    # read the whole table beside them.
    return f"{compiler.process(element.contact_id, **kw)} = ANY (ARRAY({ids}))"


def _found(element: _HasTokens, compiler: SQLCompiler, matching: str, kw: dict[str, Any]) -> str:
    asked, unindexed = (compiler.process(each, **kw) for each in (element.asked, element.unindexed))
    return f"{matching.format(asked)} UNION ALL {unindexed}"


def has_tokens(
    contact_id: Column[Any], asked: Any, unindexed: Select[Any], of_many: bool = False
) -> ColumnElement[bool]:
    """Say that a contact has the tokens that a `Question` asks for, one `of_many` sites or not, or is among
    the `unindexed`.
    """
    return _HasTokens(contact_id, asked, unindexed, of_many)


class _IsIndexed(Condition):
    """A contact is in the search index."""

    def __init__(self, site_id: Column[Any], contact_id: Column[Any]) -> None:
        self.site_id = site_id
        self.contact_id = contact_id


@compiles(_IsIndexed)
def _is_indexed(element: _IsIndexed, compiler: SQLCompiler, **kw: Any) -> str:
    contact_id = compiler.process(element.contact_id, **kw)
    return f"EXISTS (SELECT 1 FROM contact_search WHERE contact_search.rowid = {contact_id})"


@compiles(_IsIndexed, "postgresql")
def _is_indexed_on_postgresql(element: _IsIndexed, compiler: SQLCompiler, **kw: Any) -> str:
    site_id, contact_id = (compiler.process(each, **kw) for each in (element.site_id, element.contact_id))
    return (
        f"EXISTS (SELECT 1 FROM contact_search WHERE contact_search.site_id = {site_id} "
        f"AND contact_search.contact_id = {contact_id})"
    )


def is_indexed(site_id: Column[Any], contact_id: Column[Any]) -> ColumnElement[bool]:
    """Say that a contact is in the search index."""
    return _IsIndexed(site_id, contact_id)
