"""Proves that every part of the contract names a test that proves it, and that these tests are there."""

import ast
from pathlib import Path

import pytest
from contract import proofs

TESTS = Path(__file__).parents[1]

TABLES = {
    "operations": {**proofs.OPERATIONS, **proofs.EXTENSIONS},
    "filters": proofs.FILTERS,
    "sorts": proofs.SORTS,
    "includes": proofs.INCLUDES,
    "failures": {**proofs.FAILURES, **proofs.OTHER_FAILURES},
}


@pytest.mark.parametrize("table", TABLES)
def test_nothing_that_is_declared_is_without_a_proof_nor_a_proof_without_what_it_proves(table: str) -> None:
    assert TABLES[table].keys() == proofs.expected()[table]


def test_the_attributes_of_every_type_have_a_proof() -> None:
    names = {f"{of.name} {name}" for of in proofs.TYPES for name in proofs.attributes_of(of)}
    types = {of.name for of in proofs.TYPES}
    assert types <= proofs.ATTRIBUTES.keys() <= names | types


def test_every_proof_is_a_test() -> None:
    missing = set()
    for proof in proofs.every_proof():
        name, _, function = proofs.test_of(proof).partition("::")
        file = TESTS / name if "/" in name else Path(proofs.HERE, name)
        if function not in {
            each.name for each in ast.walk(ast.parse(file.read_text())) if isinstance(each, ast.FunctionDef)
        }:
            missing.add(proof)
    assert missing == set()


def test_a_filter_sort_or_attribute_is_named_where_it_is_proved() -> None:
    """A name that its tests never say is proved by nothing."""
    unnamed = [
        key
        for key, by in {**proofs.FILTERS, **proofs.ATTRIBUTES}.items()
        if (name := key.partition(" ")[2].partition(" ")[0])
        and not any(
            name in (proofs.HERE / proofs.test_of(proof).partition("::")[0]).read_text() for proof in by
        )
    ]
    assert unnamed == []
