"""Where SQL differs between databases: one named function for each difference."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Delete,
    Dialect,
    Insert,
    Integer,
    Select,
    Table,
    Text,
    UnaryExpression,
    cast,
    column,
    exists,
    func,
    literal_column,
    select,
    table,
    union_all,
)
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.sql.operators import custom_op

SQLITE: Dialect = SQLiteDialect_pysqlite(paramstyle="qmark")

# Whole numbers below 2^53; SQLite's own whole numbers have 64 bits whatever they are called.
WHOLE = BigInteger().with_variant(Integer(), "sqlite")

# Options of every table: SQLite would otherwise store any value in any column.
STRICT: dict[str, Any] = {"sqlite_strict": True}

# Options of tables whose rows are small and found by their primary key: one tree instead of two.
NARROW: dict[str, Any] = STRICT | {"sqlite_with_rowid": False}

# The separator of the tokens in an indexed text; a gram that contains one is indexed with a space instead.
GRAM_SEPARATOR = "\x1f"

# An index of words whose words are ours: everything but the separator belongs to a token, whatever Unicode
# calls it. Contentless, for the texts are in their own table; without positions, for they are not needed.
CREATE_SEARCH_INDEX = (
    "CREATE VIRTUAL TABLE contact_search USING fts5(grams, content='', contentless_delete=1, detail=none, "
    "tokenize=\"unicode61 remove_diacritics 0 categories 'L* M* N* P* S* Z* C*' separators '\x1f'\")"
)

OPTIMIZE_SEARCH_INDEX = "INSERT INTO contact_search(contact_search) VALUES ('optimize')"

_search = table("contact_search", column("rowid"), column("grams"))


def insert_or_skip(into: Table, unique: list[str]) -> Insert:
    """Return an INSERT that leaves out the rows whose `unique` columns are taken."""
    return sqlite_insert(into).on_conflict_do_nothing(index_elements=unique)


def insert_or_add(into: Table, unique: list[str], *amounts: Column[Any]) -> Insert:
    """Return an INSERT that adds `amounts` to the row that has the `unique` columns already."""
    statement = sqlite_insert(into)
    return statement.on_conflict_do_update(
        index_elements=unique,
        set_={amount.name: amount + statement.excluded[amount.name] for amount in amounts},
    )


def insert_grams() -> Insert:
    """Return the INSERT that makes a contact findable by its tokens, joined by the separator, alone."""
    return _search.insert().prefix_with("OR REPLACE")


def delete_grams(contact_id: Any) -> Delete:
    """Return the DELETE that makes a contact no longer findable."""
    return _search.delete().where(_search.c.rowid == contact_id)


def has_grams(contact_id: Column[Any], query: Any, unindexed: Select[Any]) -> ColumnElement[bool]:
    """Say that a contact has the grams that `gram_query` asks for, or is among the `unindexed`."""
    matches = literal_column("contact_search").op("MATCH")(query)
    return contact_id.in_(union_all(select(_search.c.rowid).where(matches), unindexed))


def is_findable(contact_id: Column[Any], unindexed: Select[Any]) -> ColumnElement[bool]:
    """Say that a contact is in the search index, or among the `unindexed`."""
    return contact_id.in_(union_all(select(_search.c.rowid), unindexed))


def gram_query(of_sites: list[tuple[list[list[list[str]]], str]], by_beginning: bool) -> str:
    """Return the value for `has_grams`.

    Each site asks for words, a word being alternatives of tokens that must be there together, or for one
    token instead of them all. `by_beginning` asks for tokens that begin so.
    """
    end = '"*' if by_beginning else '"'

    def quoted(token: str) -> str:
        return '"' + token.replace('"', '""') + end

    def all_of(tokens: list[str]) -> str:
        return "(" + " AND ".join(map(quoted, tokens)) + ")"

    return " OR ".join(
        "("
        + " AND ".join("(" + " OR ".join(map(all_of, word)) + ")" for word in words)
        + f") OR {quoted(mark)}"
        for words, mark in of_sites
    )


def without_index(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a column to sort or compare by that does not tempt the planner to use an index of it."""
    return UnaryExpression(column, operator=custom_op("+"))


def ids_joined(ids: Column[Any], of: ColumnElement[bool]) -> ColumnElement[Any]:
    """Return the ids of a table's rows that match, ascending and joined by commas; null for none."""
    separator: Any = literal_column("','")
    joined = func.aggregate_strings(cast(ids, Text), separator).aggregate_order_by(ids)
    return select(joined).where(of).scalar_subquery()


def among(column: ColumnElement[Any], values: Any) -> ColumnElement[bool]:
    """Say that a column is among values, which are given as one JSON list."""
    each = func.json_each(values).table_valued("value")
    return column.in_(select(each.c.value))


def member(document: Column[Any], name: str) -> ColumnElement[Any]:
    """Return a member of a column that holds a JSON object; null where there is none."""
    return func.json_extract(document, f'$."{name}"')


def contains(column: ColumnElement[Any], needle: Any) -> ColumnElement[bool]:
    """Say that a text contains another, byte for byte."""
    return func.instr(column, needle) > 0


def contains_all(first: Column[Any], second: Column[Any], words: Any) -> ColumnElement[bool]:
    """Say that each word is part of one of two texts.

    `words` is a JSON list with, for each word, what to look for in the first and in the second: one value,
    so that a thousand words are no larger a statement than one.
    """
    each = func.json_each(words).table_valued("value")
    of_first, of_second = (func.json_extract(each.c.value, f"$[{place}]") for place in (0, 1))
    missing = ~contains(first, of_first) & ~contains(second, of_second)
    return ~exists(select(literal_column("1")).select_from(each).where(missing))
