"""Proves the house rules that a program can see: sizes, docstrings, rooms, words."""

import ast
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.sqlite

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
        assert not re.search(r"^\s*(?:import|from) (?:sqlite3|apsw)", text, re.MULTILINE)
        assert not re.search(r"\bCOMMIT\b.*execute|execute\(\"(?:BEGIN|COMMIT|ROLLBACK)", text)
    if room in ("register", "jsonapi", "api"):
        assert "sqlite" not in text.lower()
    assert not re.search(r"select\s*\*", text, re.IGNORECASE)


def imported(file: Path) -> set[str]:
    """Return the first parts of the modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name.split(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_each_room_imports_no_more_than_its_work_needs(file: Path) -> None:
    # A second SQLite in one process would end the first one's locks on a file that both open.
    assert not imported(file) & {"sqlite3", "pysqlite3"}
    room = file.relative_to(SOURCE).parts[0]
    talking = {"asyncio", "threading", "socket", "ssl", "http", "urllib", "smtplib", "subprocess", "uvicorn"}
    if room == "register":
        assert not imported(file) & talking
    if room == "jsonapi":
        assert not imported(file) & (
            talking - {"urllib"} | {"sqlalchemy", "os", "pathlib", "time", "logging"}
        )
    if room != "storage":
        assert not imported(file) & {"apsw", "alembic"}
    if room not in ("storage", "register"):
        assert "sqlalchemy" not in imported(file)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_only_storage_begins_and_ends_transactions(file: Path) -> None:
    if file.relative_to(SOURCE).parts[0] == "storage":
        return
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("commit", "rollback", "begin_nested", "executescript")
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not re.match(r"\s*(?:BEGIN|COMMIT|ROLLBACK|SAVEPOINT|PRAGMA)\b", node.value)


TEXTS = [
    *SOURCE.rglob("*.*"),
    *(SOURCE.parents[1] / "docs").rglob("*.md"),
    *(SOURCE.parents[1] / "examples").rglob("*.*"),
    *SOURCE.parents[1].glob("*.md"),
    SOURCE.parents[1] / "pyproject.toml",
    SOURCE.parents[1] / "Makefile",
]
INVENTED = r"(?:[\w-]+\.)*(?:test|invalid|example(?:\.(?:com|org|net))?)"


def test_no_machine_and_no_person_is_named() -> None:
    for file in TEXTS:
        if not file.is_file() or file.suffix in (".pyc", ".db"):
            continue
        text = file.read_text()
        assert not re.search(r"(?<![\w:/.])/(?:home|root|Users|work)/", text), file
        for domain in re.findall(r"[\w.+-]+@((?:[\w-]+\.)+[a-z]{2,})", text):
            assert re.fullmatch(INVENTED, domain), (file, domain)


def test_no_exception_is_caught_to_be_ignored() -> None:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{file}:{node.lineno} catches everything"
                assert not all(isinstance(each, ast.Pass) for each in node.body), f"{file}:{node.lineno}"


def test_nothing_is_left_to_be_done_later() -> None:
    for file in FILES:
        assert not re.search(r"\b(?:TODO|FIXME|XXX|HACK)\b", file.read_text()), file
