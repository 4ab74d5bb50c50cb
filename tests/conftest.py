"""The fixtures: one real server for each worker, and a site of its own for each test."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from databases import POSTGRESQL, PostgreSQLServer, on_postgresql
from support import RunningServer, SiteWorld, start_server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the long soaks at full length")
    parser.addoption(
        "--database",
        choices=("sqlite", "postgresql"),
        default="sqlite",
        help="the kind of database; for postgresql a server is started, and what needs none is left out",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start PostgreSQL where it is asked for: one server for all workers."""
    config.addinivalue_line("markers", "sqlite: about files of SQLite, or without any database")
    if config.getoption("--database") == "postgresql" and not on_postgresql():
        server = PostgreSQLServer()
        config.add_cleanup(server.remove)
        server.make_template()
        os.environ[POSTGRESQL] = server.url


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, on PostgreSQL, what is about SQLite or needs no database."""
    if config.getoption("--database") == "postgresql":
        left_out = [item for item in items if item.get_closest_marker("sqlite")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQLServer]:
    """A PostgreSQL of a worker's own, which its tests may restart, whatever the others run on."""
    server = PostgreSQLServer("deadlock_timeout=200ms")
    server.make_template()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that the tests of a worker share; each makes its own site on it."""
    running = start_server(tmp_path_factory.mktemp("server") / "rollbook.db")
    yield running
    assert running.stop() == 0


@pytest.fixture
def site(server: RunningServer) -> Iterator[SiteWorld]:
    """A site of the test's own, with a key that sees it alone and may do everything there."""
    made = server.new_site()
    yield made
    made.client.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Start servers of the test's own, with settings as keywords; they end with the test.

    `serve(ROLLBOOK_RATE_LIMIT="3")`, `serve(tmp_path / "other.db")`.
    """
    started: list[RunningServer] = []

    def start(database: Path | None = None, **environment: str) -> RunningServer:
        running = start_server(database or tmp_path / "rollbook.db", **environment)
        started.append(running)
        return running

    yield start
    for running in started:
        running.stop()
