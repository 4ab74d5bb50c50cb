"""Proves the house rules that a program can see: sizes, docstrings, rooms, words."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "rollbook"
FILES = sorted(SOURCE.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(file: Path) -> list[Function]:
    return [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, Function)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_a_module_begins_with_its_sentence_and_is_not_too_long(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= 600
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":", ";")) or len(docstring.splitlines()) > 1


def test_few_modules_and_functions_are_long() -> None:
    lengths = [(node.end_lineno or 0) - node.lineno + 1 for file in FILES for node in functions(file)]
    assert sum(length > 40 for length in lengths) <= 0.03 * len(lengths)
    assert sum(len(file.read_text().splitlines()) > 400 for file in FILES) <= 0.04 * len(FILES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_what_is_public_has_a_docstring(file: Path) -> None:
    if "migrations/versions" in str(file):
        return
    tree = ast.parse(file.read_text())
    public = [node for node in tree.body if isinstance(node, Function | ast.ClassDef)]
    for node in list(public):
        if isinstance(node, ast.ClassDef) and not any(
            getattr(base, "id", "") == "Protocol" for base in node.bases
        ):
            public += [each for each in node.body if isinstance(each, Function)]
    missing = [node.name for node in public if not node.name.startswith("_") and not ast.get_docstring(node)]
    assert missing == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_the_driver_and_transactions_stay_in_their_room(file: Path) -> None:
    text = file.read_text()
    room = file.relative_to(SOURCE).parts[0]
    if room != "storage":
        assert not re.search(r"^\s*(?:import|from) (?:pysqlite3|sqlite3|apsw)", text, re.MULTILINE)
        assert not re.search(r"\bCOMMIT\b.*execute|execute\(\"(?:BEGIN|COMMIT|ROLLBACK)", text)
    if room in ("register", "jsonapi", "api"):
        assert "sqlite" not in text.lower()
    assert not re.search(r"select\s*\*", text, re.IGNORECASE)
