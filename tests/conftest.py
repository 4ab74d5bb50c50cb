"""The fixtures: one real server for each worker, and a site of its own for each test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import RunningServer, SiteWorld, start_server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the long soaks at full length")


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
