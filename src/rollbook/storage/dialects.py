"""Where SQL differs between databases: one named function, or construct, for each difference.

A construct says what is meant, and how each database writes it; SQLAlchemy compiles it where it stands.
"""

import secrets
from typing import Any

from sqlalchemy import (
    BigInteger,
    ClauseElement,
    Column,
    ColumnElement,
    Insert,
    Integer,
    Table,
    Text,
    cast,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import Boolean

# Whole numbers below 2^53; SQLite's own whole numbers have 64 bits whatever they are called.
WHOLE = BigInteger().with_variant(Integer(), "sqlite")

# Compared and sorted as bytes, whatever language the database speaks; SQLite does nothing else.
TEXT = Text().with_variant(Text(collation="C"), "postgresql")

# In questions it stands for U+0000, which PostgreSQL cannot be sent. No stored text holds that one, nor this
# one, which nobody can guess.
UNSTORABLE = "\ufffd" + secrets.token_hex(16)

# Options of every table: SQLite would otherwise store any value in any column.
STRICT: dict[str, Any] = {"sqlite_strict": True}

# Options of tables whose rows are small and found by their primary key: one tree instead of two.
NARROW: dict[str, Any] = STRICT | {"sqlite_with_rowid": False}


class _OnConflict(ClauseElement):
    """What an INSERT does with a row whose unique columns are taken: adds amounts to it, or nothing."""

    inherit_cache = False

    def __init__(self, unique: list[str], *amounts: Column[Any]) -> None:
        self.unique = unique
        self.amounts = amounts


@compiles(_OnConflict)
def _on_conflict(element: _OnConflict, compiler: SQLCompiler, **_kw: Any) -> str:
    quote = compiler.preparer.quote
    added = ", ".join(
        f"{quote(each.name)} = {quote(each.table.name)}.{quote(each.name)} + excluded.{quote(each.name)}"
        for each in element.amounts
    )
    action = f"DO UPDATE SET {added}" if added else "DO NOTHING"
    return f"ON CONFLICT ({', '.join(map(quote, element.unique))}) {action}"


def insert_or_skip(into: Table, unique: list[str]) -> Insert:
    """Return an INSERT that leaves out the rows whose `unique` columns are taken."""
    return insert_or_add(into, unique)


def insert_or_add(into: Table, unique: list[str], *amounts: Column[Any]) -> Insert:
    """Return an INSERT that adds `amounts` to the row that has the `unique` columns already."""
    statement = insert(into)
    statement._post_values_clause = _OnConflict(unique, *amounts)
    return statement


class Condition(ColumnElement[bool]):
    """A condition of our own making."""

    inherit_cache = False
    type = Boolean()

    def self_group(self, against: Any = None) -> "Condition":  # noqa: ARG002 - SQLAlchemy's signature
        """Return itself: a database without booleans would get `… = 1`, for which no index is used."""
        return self


class _Contains(Condition):
    """A text contains another, byte for byte."""

    def __init__(self, whole: ColumnElement[Any], part: ColumnElement[Any]) -> None:
        self.whole = whole
        self.part = part


@compiles(_Contains)
def _contains(element: _Contains, compiler: SQLCompiler, **kw: Any) -> str:
    position = "strpos" if compiler.dialect.name == "postgresql" else "instr"
    return f"{position}({compiler.process(element.whole, **kw)}, {compiler.process(element.part, **kw)}) > 0"


def contains(whole: ColumnElement[Any], part: Any) -> ColumnElement[bool]:
    """Say that a text contains another, byte for byte."""
    return _Contains(whole, part)


class _Among(Condition):
    """A column is among the values of a JSON list."""

    def __init__(self, column: ColumnElement[Any], values: ColumnElement[Any]) -> None:
        self.column = column
        self.values = values


@compiles(_Among)
def _among(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = compiler.process(element.column, **kw), compiler.process(element.values, **kw)
    return f"{column} IN (SELECT value FROM json_each({values}))"


@compiles(_Among, "postgresql")
def _among_on_postgresql(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = compiler.process(element.column, **kw), compiler.process(element.values, **kw)
    if isinstance(element.column.type, Text):
        return f"{column} IN (SELECT json_array_elements_text(CAST({values} AS json)))"
    # A list of numbers is an array but for its brackets, and an index takes an array.
    return f"{column} = ANY (CAST(translate({values}, '[]', '{{}}') AS bigint[]))"


def among(column: ColumnElement[Any], values: Any) -> ColumnElement[bool]:
    """Say that a column is among values, which are given as one JSON list."""
    return _Among(column, values)


class _AmongMany(_Among):
    """A column is among numbers of a JSON list, which may be thousands."""


@compiles(_AmongMany, "postgresql")
def _among_many_on_postgresql(element: _AmongMany, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = compiler.process(element.column, **kw), compiler.process(element.values, **kw)
    # An array would be made anew, and gone through, for each row that no index leads to.
    return f"{column} IN (SELECT CAST(json_array_elements_text(CAST({values} AS json)) AS bigint))"


def among_many(column: ColumnElement[Any], values: Any) -> ColumnElement[bool]:
    """Say that a column is among numbers, given as one JSON list; it is read once, however many rows are
    looked at.
    """
    return _AmongMany(column, values)


class _Member(ColumnElement[str]):
    """A member of a JSON object."""

    inherit_cache = False
    type = TEXT

    def __init__(self, document: ColumnElement[Any], name: str) -> None:
        self.document = document
        self.name = name


@compiles(_Member)
def _member(element: _Member, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_extract({compiler.process(element.document, **kw)}, '$.\"{element.name}\"')"


@compiles(_Member, "postgresql")
def _member_on_postgresql(element: _Member, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(CAST({compiler.process(element.document, **kw)} AS json) ->> '{element.name}')"


def member(document: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """Return a member of a column that holds a JSON object; null where there is none."""
    return _Member(document, name)


class _ContainsAll(Condition):
    """Each of several words is part of one of two texts."""

    def __init__(
        self, first: ColumnElement[Any], second: ColumnElement[Any], words: ColumnElement[Any]
    ) -> None:
        self.first = first
        self.second = second
        self.words = words


@compiles(_ContainsAll)
def _contains_all(element: _ContainsAll, compiler: SQLCompiler, **kw: Any) -> str:
    words = compiler.process(element.words, **kw)
    first, second = compiler.process(element.first, **kw), compiler.process(element.second, **kw)
    return (
        f"NOT EXISTS (SELECT 1 FROM json_each({words}) AS word "
        f"WHERE instr({first}, json_extract(word.value, '$[0]')) = 0 "
        f"AND instr({second}, json_extract(word.value, '$[1]')) = 0)"
    )


@compiles(_ContainsAll, "postgresql")
def _contains_all_on_postgresql(element: _ContainsAll, compiler: SQLCompiler, **kw: Any) -> str:
    words = compiler.process(element.words, **kw)
    first, second = compiler.process(element.first, **kw), compiler.process(element.second, **kw)
    return (
        f"NOT EXISTS (SELECT 1 FROM json_array_elements(CAST({words} AS json)) AS word(value) "
        f"WHERE strpos({first}, word.value ->> 0) = 0 AND strpos({second}, word.value ->> 1) = 0)"
    )


def contains_all(
    first: ColumnElement[Any], second: ColumnElement[Any], words: ColumnElement[Any]
) -> ColumnElement[bool]:
    """Say that each word is part of one of two texts.

    `words` is a JSON list with, for each word, what to look for in the first and in the second: one value,
    so that a thousand words are no larger a statement than one.
    """
    return _ContainsAll(first, second, words)


class _IndexedWhole(ColumnElement[str]):
    """What an index holds of a text of any length."""

    inherit_cache = False
    type = TEXT

    def __init__(self, whole: ColumnElement[Any]) -> None:
        self.whole = whole


@compiles(_IndexedWhole)
def _indexed_whole(element: _IndexedWhole, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.whole, **kw)


@compiles(_IndexedWhole, "postgresql")
def _indexed_whole_on_postgresql(element: _IndexedWhole, compiler: SQLCompiler, **kw: Any) -> str:
    # An entry of its indexes has at most 2,704 bytes. Who makes two texts of one hash makes them one
    # value on a site of their own, which is no gain to anybody.
    return f"md5({compiler.process(element.whole, **kw)})"


def indexed_whole(whole: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return what an index that compares whole texts holds of a text, however long that is."""
    return _IndexedWhole(whole)


class _WithoutIndex(ColumnElement[Any]):
    """A column that no index of it serves."""

    inherit_cache = False

    def __init__(self, column: ColumnElement[Any]) -> None:
        self.column = column
        self.type = column.type


@compiles(_WithoutIndex)
def _without_index(element: _WithoutIndex, compiler: SQLCompiler, **kw: Any) -> str:
    return f"+{compiler.process(element.column, **kw)}"


@compiles(_WithoutIndex, "postgresql")
def _without_index_on_postgresql(element: _WithoutIndex, compiler: SQLCompiler, **kw: Any) -> str:
    nothing = "|| ''" if isinstance(element.type, Text) else "+ 0"
    return f"({compiler.process(element.column, **kw)} {nothing})"


def without_index(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a column to sort or compare by that does not tempt the planner to use an index of it."""
    return _WithoutIndex(column)


def ids_joined(ids: Column[Any], of: ColumnElement[bool]) -> ColumnElement[Any]:
    """Return the ids of a table's rows that match, ascending and joined by commas; null for none."""
    separator: Any = literal_column("','")
    joined = func.aggregate_strings(cast(ids, Text), separator).aggregate_order_by(ids)
    return select(joined).where(of).scalar_subquery()
