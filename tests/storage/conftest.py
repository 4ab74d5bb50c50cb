"""The fixture: a database with the schema and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from databases import forget, url_of
from rollbook.storage.database import Database
from rollbook.storage.migrate import bring_up_to_date
from rollbook.storage.opening import open_database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database that nobody else uses."""
    made = open_database(url_of(tmp_path / "rollbook.db"))
    bring_up_to_date(made)
    yield made
    made.close()
    forget(tmp_path / "rollbook.db")
