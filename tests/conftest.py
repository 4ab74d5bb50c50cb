"""The fixtures: one real server for each worker, and a site of its own for each test."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import statement_log
from databases import POOLER, POSTGRESQL, PostgreSQLServer, on_postgresql
from pooler import MISSING, PROGRAM, Pooler
from support import RunningServer, SiteWorld, start_server

STARTED = pytest.StashKey[PostgreSQLServer]()
JUDGED = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the long soaks at full length")
    parser.addoption(
        "--database",
        choices=("sqlite", "postgresql"),
        default="sqlite",
        help="the kind of database; for postgresql a server is started, and what needs none is left out",
    )
    parser.addoption("--partitioned", action="store_true", help="on postgresql: tables in parts, by the site")
    parser.addoption("--serializable", action="store_true", help="on postgresql: the strictest isolation")
    parser.addoption("--pooler", action="store_true", help="on postgresql: through pgbouncer, by transaction")


def pytest_configure(config: pytest.Config) -> None:
    """Start PostgreSQL where it is asked for: one server for all workers."""
    config.addinivalue_line("markers", "sqlite: about files of SQLite, or without any database")
    if config.getoption("--database") == "postgresql" and not on_postgresql():
        _start_postgresql(config)


def _start_postgresql(config: pytest.Config) -> None:
    isolation = "serializable" if config.getoption("--serializable") else "read committed"
    server = PostgreSQLServer(*statement_log.SETTINGS, f"default_transaction_isolation={isolation}")
    config.stash[STARTED] = server
    config.add_cleanup(server.remove)
    server.make_template(config.getoption("--partitioned"))
    os.environ[POSTGRESQL] = server.url
    if config.getoption("--pooler"):
        if PROGRAM is None:
            pytest.exit(MISSING, returncode=pytest.ExitCode.USAGE_ERROR)
        pooler = Pooler(server.url)
        config.add_cleanup(pooler.remove)
        os.environ |= {POOLER: pooler.url, "ROLLBOOK_PREPARED_STATEMENTS": "off"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, on PostgreSQL, what is about SQLite or needs no database."""
    if config.getoption("--database") == "postgresql":
        left_out = [item for item in items if item.get_closest_marker("sqlite")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where any statement that any process asked PostgreSQL is not within the common subset."""
    server = session.config.stash.get(STARTED, None)
    if server is None:
        return
    from subset import judged  # noqa: PLC0415 - it loads the whole register

    server.stop()
    verdict = judged(statement_log.statements(server.log))
    session.config.stash[JUDGED] = verdict.lines()
    if verdict.sinful and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many statements were looked at, and what is wrong with which."""
    if JUDGED in config.stash:
        terminalreporter.section("statements that PostgreSQL was asked")
        for line in config.stash[JUDGED]:
            terminalreporter.line(line)


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
