"""The fixtures: a register of the test's own, with the sites 1, 2 and 3."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from register.house import open_register

from databases import copied, forget
from rollbook.storage.database import Database
from rollbook.storage.opening import open_database


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A register that nobody has used: copying it is quicker than making one."""
    path = tmp_path_factory.mktemp("template") / "rollbook.db"
    open_register(path).close()
    return path


@pytest.fixture
def database(template: Path, tmp_path: Path) -> Iterator[Database]:
    """A register that nobody else uses."""
    path = tmp_path / "rollbook.db"
    opened = open_database(copied(template, path))
    yield opened
    opened.close()
    forget(path)
