"""Looks for rows that point at nothing, in a database that has no such check of its own."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import ForeignKeyConstraint

from rollbook.storage.statements import Row
from rollbook.storage.tables import metadata

MOST_TOLD = 1_000


def faults(ask: Callable[[str], list[Row]]) -> list[str]:
    """Return a sentence for each row that points at nothing, as many as anybody reads."""
    found = []
    for table in metadata.sorted_tables:
        for reference in sorted(table.foreign_key_constraints, key=lambda each: list(each.column_keys)):
            for key in ask(_dangling(reference)):
                names = ", ".join(
                    f"{column.name} {value}" for column, value in zip(table.primary_key, key, strict=True)
                )
                found.append(
                    f"foreign key: the row of {table.name} with {names} points at nothing in "
                    f"{reference.referred_table.name}"
                )
    return found


def _dangling(reference: ForeignKeyConstraint) -> str:
    table: Any = reference.parent
    key = ", ".join(f"child.{column.name}" for column in table.primary_key)
    pairs = " AND ".join(
        f"child.{element.parent.name} = parent.{element.column.name}" for element in reference.elements
    )
    return (
        f"SELECT {key} FROM {table.name} AS child WHERE NOT EXISTS "
        f"(SELECT 1 FROM {reference.referred_table.name} AS parent WHERE {pairs}) LIMIT {MOST_TOLD}"
    )
