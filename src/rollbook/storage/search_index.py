"""The search index: which contacts have which tokens; each database has an index of its own kind.

SQLite has a table of FTS5 whose words are ours: everything but the separator belongs to a token, whatever
Unicode calls it. It is contentless, for the texts are in their own table, and without positions, for they
are not needed. PostgreSQL has lists of tokens (`tsvector`) with an inverted index over them.
"""

import itertools
import json
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from operator import itemgetter
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
)
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from rollbook.storage import dialects
from rollbook.storage.dialects import Condition
from rollbook.storage.statements import InsertRows, Statement
from rollbook.storage.transactions import Snapshot, TakesLong, Transaction

# Between the tokens of a text; a gram that contains one is indexed with a space instead.
SEPARATOR = "\x1f"

CREATE = {
    "sqlite": (
        "CREATE VIRTUAL TABLE contact_search "
        "USING fts5(grams, content='', contentless_delete=1, detail=none, "
        "tokenize=\"unicode61 remove_diacritics 0 categories 'L* M* N* P* S* Z* C*' separators '\x1f'\")",
    ),
    "postgresql": (
        "CREATE TABLE contact_search (site_id bigint NOT NULL, contact_id bigint NOT NULL, "
        "grams tsvector NOT NULL, PRIMARY KEY (site_id, contact_id))",
        # Each search reads all of what waits to be merged into the index, which is thus kept to so many KiB.
        "CREATE INDEX contact_search_by_gram ON contact_search USING gin (grams) "
        "WITH (gin_pending_list_limit = 64)",
    ),
}
# The inverted index is made anew after many contacts were added, which costs less than adding to it.
BEFORE_FILLING = {"sqlite": (), "postgresql": ("DROP INDEX IF EXISTS contact_search_by_gram",)}
AFTER_FILLING = {"sqlite": (), "postgresql": CREATE["postgresql"][1:]}
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
_count_up_to = {
    name: Statement(select(func.count()).select_from(found.limit(bindparam("limit")).subquery()), only=name)
    for name, found in _matching.items()
}

# Words, each as alternatives, each of tokens that must be there together.
Words = Sequence[Sequence[Sequence[str]]]
# A token is rare that fewer contacts have; where no token is, one that is not very common will do, and then
# one that is not all too common. One that very few have is enough by itself.
RARE = (256, 2_048, 16_384)
VERY_FEW = 32
MOST_COUNTED = 24
MOST_KNOWN = 10_000


class Count(NamedTuple):
    """How many contacts were found to have a token, up to what was counted, and after how many additions to
    the index.

    A server is the only one that adds to SQLite's. A number that does not hold any more has a search find the
    same by a longer way: those of tokens that are not rare are good enough for ever.
    """

    many: int
    up_to: int
    additions: int

    def holds(self, additions: int) -> bool:
        """Say whether the number is good enough after so many additions."""
        return self.many >= RARE[0] or self.additions == additions


_counted: dict[str, Count] = {}
_additions = itertools.count(1)
_last_addition = 0


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
    rows = [(*each[:2], " ".join(map(_quoted, each.tokens.split(SEPARATOR)))) for each in entries]
    transaction.insert(_add_on_postgresql, rows)


def remove(transaction: Transaction, site_id: int, contact_id: int) -> None:
    """Make a contact no longer findable."""
    if transaction.dialect_name == "sqlite":
        transaction.run(_remove_on_sqlite, {"contact_id": contact_id})
    else:
        _remove(transaction, {site_id}, [contact_id])


def _remove(transaction: Transaction, site_ids: Collection[int], contact_ids: Collection[int]) -> None:
    values = {"site_ids": json.dumps(sorted(site_ids)), "contact_ids": json.dumps(list(contact_ids))}
    transaction.run(_remove_on_postgresql, values)


# For each site its words, and one token instead of them all.
OfSites = Sequence[tuple[Words, str]]


class TokensAsked:
    """The tokens that contacts are asked to have, `by_beginning` where tokens that begin so will do.

    Each site asks for words, a word being alternatives of tokens that must be there together, or for one
    token instead of them all. `tokens` makes them; asked for more, it makes more tokens of the same words,
    of which the rare ones are asked for where `narrowed` finds some.
    """

    def __init__(self, tokens: Callable[[bool], OfSites], *, by_beginning: bool) -> None:
        self._tokens = tokens
        self.by_beginning = by_beginning

    @cached_property
    def of_sites(self) -> OfSites:
        """What each site asks for."""
        return self._tokens(False)

    @cached_property
    def closer(self) -> OfSites:
        """The same, with more tokens of the same words."""
        return self._tokens(True)


class Question(str):
    """A question for tokens, in the words of the database that it is for."""

    __slots__ = ()


def narrowed(snapshot: Snapshot, asked: TokensAsked) -> Question:
    """Return the value for `has_tokens`, which asks for rare tokens alone: common ones take long to
    intersect, and narrow little more.

    PostgreSQL begins with the rarest by itself; tokens that only begin so cannot be counted up to a limit.
    Raises TakesLong where the snapshot is for a glance, and many contacts may have what is asked for.
    """
    if snapshot.dialect_name != "sqlite":
        end = ":*" if asked.by_beginning else ""
        return Question(_joined(asked.of_sites, " & ", " | ", lambda token: _quoted(token) + end))
    if not asked.by_beginning:
        rare = [(_rare(snapshot, asked, at), mark) for at, (_, mark) in enumerate(asked.closer)]
        return Question(_joined(rare, " AND ", " OR ", _as_phrase))
    if snapshot.is_hurried:
        raise TakesLong
    return Question(_joined(asked.of_sites, " AND ", " OR ", lambda token: _as_phrase(token) + "*"))


def _rare(snapshot: Snapshot, asked: TokensAsked, at: int) -> Words:
    """Return the rare tokens of the words of one site that have some, or all of few tokens where none has."""
    some, mark = asked.closer[at]
    if _many(some) > MOST_COUNTED:
        some = asked.of_sites[at][0]
    if not 1 < _many(some) <= MOST_COUNTED:
        some = []
    for limit in RARE:
        found: list[tuple[int, Sequence[Sequence[str]]]] = []
        for word in some:
            spelled = [_held_by_fewer(snapshot, tokens, limit) for tokens in word]
            many = sum(most for _, most in spelled)
            # A word of two spellings is as common as the more common one.
            if all(tokens for tokens, _ in spelled):
                found.append((many, [tokens for tokens, _ in spelled]))
            if many < VERY_FEW:
                found = found[-1:]
                break
        # What comes first is gone through, the others are looked up.
        rare = [spellings for _, spellings in sorted(found, key=itemgetter(0))]
        # Those of long texts are looked at by every search, and a text may be a megabyte.
        if snapshot.is_hurried and (not rare or _many_with(snapshot, mark, 1)):
            raise TakesLong
        if rare:
            return rare
    return asked.of_sites[at][0]


def _held_by_fewer(snapshot: Snapshot, tokens: Sequence[str], limit: int) -> tuple[list[str], int]:
    """Return the tokens that fewer contacts have than the limit, the rarest first, or one alone that very few
    have; and how many contacts may have them.
    """
    rare: list[tuple[int, str]] = []
    fewest = limit
    for token in tokens:
        many = _many_with(snapshot, token, limit)
        fewest = min(fewest, many)
        if many < VERY_FEW:
            return [token], many
        if many < limit:
            rare.append((many, token))
    return [token for _, token in sorted(rare)], fewest


def _many_with(snapshot: Snapshot, token: str, limit: int) -> int:
    """Return how many contacts have a token, or the limit where more have."""
    known = _counted.get(token)
    additions = _last_addition
    if known is not None and known.holds(additions) and (known.many >= limit or known.many < known.up_to):
        return min(known.many, limit)
    many = count_up_to(snapshot, _as_phrase(token), limit)
    if len(_counted) >= MOST_KNOWN:
        _counted.clear()
    _counted[token] = Count(many, limit, additions)
    return many


def _many(words: Words) -> int:
    return sum(len(each) for word in words for each in word)


def count_up_to(snapshot: Snapshot, asked: str, limit: int) -> int:
    """Return how many contacts have the tokens that a question asks for, or the limit where more have."""
    statement = _count_up_to[snapshot.dialect_name]
    return int(snapshot.rows(statement, {"asked": asked, "limit": limit})[0][0])


def _joined(of_sites: Any, and_: str, or_: str, quoted: Any) -> str:
    def all_of(tokens: Sequence[str]) -> str:
        return "(" + and_.join(map(quoted, tokens)) + ")"

    return or_.join(
        "(" + and_.join("(" + or_.join(map(all_of, word)) + ")" for word in words) + f"){or_}{quoted(mark)}"
        for words, mark in of_sites
    )


def _as_phrase(token: str) -> str:
    """Return a token as FTS5 reads it."""
    return '"' + token.replace('"', '""') + '"'


def _quoted(token: str) -> str:
    """Return a token as `tsvector` and `tsquery` read it."""
    return "'" + token.replace("\\", "\\\\").replace("'", "''") + "'"


class _HasTokens(Condition):
    """A contact has the tokens that a question asks for."""

    def __init__(self, contact_id: Column[Any], asked: Any, unindexed: Select[Any]) -> None:
        self.contact_id = contact_id
        self.asked = asked
        self.unindexed = unindexed


@compiles(_HasTokens)
def _has_tokens(element: _HasTokens, compiler: SQLCompiler, **kw: Any) -> str:
    return _in_index(element, compiler, "rowid", "contact_search MATCH {}", kw)


@compiles(_HasTokens, "postgresql")
def _has_tokens_on_postgresql(element: _HasTokens, compiler: SQLCompiler, **kw: Any) -> str:
    # As a query of its own it tells the planner nothing; else each search would be planned anew, by what it
    # asks for, which takes longer than the search, and finds the same plan.
    return _in_index(element, compiler, "contact_id", "grams @@ (SELECT CAST({} AS tsquery))", kw)


def _in_index(
    element: _HasTokens, compiler: SQLCompiler, found: str, condition: str, kw: dict[str, Any]
) -> str:
    contact_id = compiler.process(element.contact_id, **kw)
    matching = condition.format(compiler.process(element.asked, **kw))
    unindexed = compiler.process(element.unindexed, **kw)
    ids = f"SELECT {found} FROM contact_search WHERE {matching} UNION ALL {unindexed}"
    if found == "contact_id":
        # As an array, they can only be looked up by the primary key: PostgreSQL would now and then rather
        # read the whole table beside them.
        return f"{contact_id} = ANY (ARRAY({ids}))"
    return f"{contact_id} IN ({ids})"


def has_tokens(contact_id: Column[Any], asked: Any, unindexed: Select[Any]) -> ColumnElement[bool]:
    """Say that a contact has the tokens that a `Question` asks for, or is among the `unindexed`."""
    return _HasTokens(contact_id, asked, unindexed)


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
