"""Proves that every part of the contract names a test that proves it, and that these tests are there.

That they do what they are said to prove is seen while they run: `witnesses.py`.
"""

import ast
from pathlib import Path

import pytest
from contract import proofs
from contract.witnesses import UNHEARD

from rollbook.jsonapi.errors import Refusal

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


def test_every_proof_is_a_test_that_is_always_run() -> None:
    missing = set()
    for proof in proofs.every_proof():
        name, _, function = proofs.test_of(proof).partition("::")
        file = TESTS / name if "/" in name else Path(proofs.HERE, name)
        found = [
            each
            for each in ast.parse(file.read_text()).body
            if isinstance(each, ast.FunctionDef) and each.name == function
        ]
        marks = {ast.unparse(mark) for each in found for mark in each.decorator_list}
        if len(found) != 1 or any(
            mark.startswith(("pytest.mark.skip", "pytest.mark.xfail")) for mark in marks
        ):
            missing.add(proof)
    assert missing == set()


def test_what_cannot_be_overheard_says_the_words_that_it_proves() -> None:
    """Of all others, a run that ends well has seen them do what they prove."""
    assert set(UNHEARD) < proofs.every_proof()
    for name, by in proofs.OTHER_FAILURES.items():
        if by[0] in UNHEARD:
            text = (TESTS / proofs.test_of(by[0]).partition("::")[0]).read_text()
            assert (Refusal[name].value.detail or "").partition(" {")[0] in text, name
