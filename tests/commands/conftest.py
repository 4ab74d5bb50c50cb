"""What tests of copies and checks share: empty databases of both kinds, and a register."""

import os
import secrets
from collections.abc import Callable, Iterator

import psycopg
import pytest
from commands.registers import Source

from databases import POSTGRESQL, PostgreSQLServer, on_postgresql


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The maintenance database of a PostgreSQL; one is started where the tests run on SQLite."""
    if on_postgresql():
        yield os.environ[POSTGRESQL]
        return
    server = PostgreSQLServer()
    yield server.url
    server.remove()


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Return the URL of a new database of a kind, without even a schema."""

    def make(kind: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{tmp_path_factory.mktemp('empty')}/rollbook.db"
        url: str = request.getfixturevalue("postgresql")
        name = f"c_{secrets.token_hex(8)}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return url.replace("/postgres", f"/{name}")

    return make


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A register with awkward data, of the kind that the tests run on."""
    return Source(tmp_path_factory.mktemp("source"))
