"""The fixtures: one real server for each worker, and a site of its own for each test."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from contract.witnesses import CLAIMS, Exchange, name_of, shown_by, unseen_in

import statement_log
from databases import POOLER, POSTGRESQL, PostgreSQLServer, forget, on_postgresql
from pooler import MISSING, PROGRAM, Pooler
from support import LISTENERS, RunningServer, SiteWorld, start_server

# What each test that ran, in any of its cases, was seen proving.
SHOWN: dict[str, set[str]] = {}

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
    config.addinivalue_line("markers", "postgresql: about PostgreSQL alone")
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
    """Leave out what is about the other kind of database, and on PostgreSQL what needs none."""
    other = "sqlite" if config.getoption("--database") == "postgresql" else "postgresql"
    left_out = {item for item in items if item.get_closest_marker(other)}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def _overheard(request: pytest.FixtureRequest) -> Iterator[None]:
    """Overhear the tests that are named as proofs."""
    name = name_of(request.node)
    if name not in CLAIMS:
        yield
        return
    heard: list[Exchange] = []
    LISTENERS.append(lambda *exchange: heard.append(Exchange(*exchange)))
    yield
    LISTENERS.pop()
    shown = SHOWN.setdefault(name, set())
    shown |= shown_by(name, heard)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker has overheard."""
    for name, shown in getattr(node, "workeroutput", {}).get("shown", {}).items():
        SHOWN.setdefault(name, set()).update(shown)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in which a test did not do what it is said to prove, or PostgreSQL was asked what it must not."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["shown"] = {name: sorted(shown) for name, shown in SHOWN.items()}
        return
    sound = not _unproven(session)
    sound &= not _sinful(session)
    if not sound and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _unproven(session: pytest.Session) -> bool:
    """Tell of the tests that were not seen proving what they are said to, where all of a file ran and passed.

    All cases of a test prove it together: so it is not asked of those who chose among them.
    """
    chosen = session.config.option.keyword or any("::" in each for each in session.config.args)
    unseen = {} if chosen or session.testsfailed else unseen_in(SHOWN)
    for name, parts in unseen.items():
        print(f"\n{name} is said to prove these, and was not seen doing so: {parts}")
    return bool(unseen)


def _sinful(session: pytest.Session) -> bool:
    """Say whether any statement that any process asked PostgreSQL is not within the common subset."""
    server = session.config.stash.get(STARTED, None)
    if server is None:
        return False
    from subset import judged  # noqa: PLC0415 - it loads the whole register

    server.stop()
    verdict = judged(statement_log.statements(server.log))
    session.config.stash[JUDGED] = verdict.lines()
    return bool(verdict.sinful)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many statements were looked at, and what is wrong with which."""
    if JUDGED in config.stash:
        terminalreporter.section("statements that PostgreSQL was asked")
        for line in config.stash[JUDGED]:
            terminalreporter.line(line)


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
    for path in {running.database for running in started}:
        forget(path)
