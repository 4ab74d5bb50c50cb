"""Proves that schemas expand before they contract: an older program goes on writing, a killed migration resumes."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import psycopg
import pytest

from databases import POSTGRESQL, free_port, on_postgresql, run_sql
from rollbook.storage.tables import REVISIONS
from support import Client, RunningServer, SiteWorld, contact_document, run_rollbook, start_server, wait_until

PROJECT = Path(__file__).parents[2]
# The last commit whose program needs the schema before this one's.
OLDER_COMMIT, OLDER_REVISION = "19632b7", "0002"
PEOPLE = 60
# Longer than what PostgreSQL indexes, so that the migration has something to do.
LONG = "long " * 300

# A command that dies after so many statements of a migration, or says how many there were.
DYING = """
import os, signal, sys
from sqlalchemy import Engine, event
left = int(sys.argv.pop(1))
done = 0

@event.listens_for(Engine, "after_cursor_execute")
def count(*_):
    global done
    done += 1
    if done == left:
        os.kill(os.getpid(), signal.SIGKILL)

from rollbook.cli import main
main(standalone_mode=False)
print(done)
"""

only_sqlite = pytest.mark.sqlite
only_postgresql = pytest.mark.skipif(not on_postgresql(), reason="needs --database postgresql")


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which the older program runs."""
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")
    archive = subprocess.run(
        [git, "-C", str(PROJECT), "archive", OLDER_COMMIT, "src"], capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"the history has no commit {OLDER_COMMIT}: a whole clone has")
    folder = tmp_path_factory.mktemp("older")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return {"PYTHONPATH": str(folder / "src")}


@pytest.fixture(scope="module")
def filled(older: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that the older program has filled."""
    path = tmp_path_factory.mktemp("filled") / "rollbook.db"
    server, site = _start_older(path, older)
    for number in range(PEOPLE):
        assert site.create(name=f"Person {number}", email=f"{number}@example.test").status == 201
    for number in range(5):
        assert _make_tag(site, f"{LONG}{number}").status == 201
    assert server.stop() == 0
    assert _revision(path) == OLDER_REVISION
    return path


def _start_older(path: Path, older: dict[str, str]) -> tuple[RunningServer, SiteWorld]:
    """Start the older program; return its server, and the site that it made."""
    server = start_server(path, **older, ROLLBOOK_DATABASE=f"sqlite:///{path}")
    told = dict(re.findall(r"^  (site id|client_id|client_secret) +(\S+)$", server.greeting, re.MULTILINE))
    token = server.token(told["client_id"], told["client_secret"])
    return server, SiteWorld(
        told["site id"], told["client_id"], told["client_secret"], token, server.client(token)
    )


def _make_tag(site: SiteWorld, name: str) -> Any:
    document = contact_document(site.id, name=name)
    document["data"]["type"] = "contact_tags"
    return site.client.post("/v1/contact_tags", document)


def _revision(path: Path) -> str:
    rows = run_sql(f"sqlite:///{path}", "SELECT version_num FROM alembic_version")
    return str(rows[0][0])


class Writing(threading.Thread):
    """Creates contacts one after the other and changes each, until told to stop; keeps what was answered."""

    def __init__(self, client: Client, site_id: str) -> None:
        super().__init__()
        self.client, self.site_id = client, site_id
        self.kept: dict[str, str] = {}
        self.failed: list[Any] = []
        self.ended = threading.Event()

    def run(self) -> None:
        """Write until told to stop."""
        while not self.ended.is_set():
            number = len(self.kept)
            new = contact_document(self.site_id, name=f"Written {number}", email=f"w{number}@example.test")
            made = self.client.post("/v1/contacts", new)
            if made.status != 201:
                self.failed.append(made)
                return
            path = f"/v1/contacts/{made.json['data']['id']}"
            city = f"City {number}"
            changed = self.client.request("PATCH", path, {"data": {"attributes": {"address_city": city}}})
            if changed.status != 200:
                self.failed.append(changed)
                return
            self.kept[path] = city

    def stop(self) -> None:
        """Stop, and wait until it has."""
        self.ended.set()
        self.join()


@only_sqlite
def test_the_older_program_goes_on_writing_while_and_after_the_schema_is_brought_up_to_date(
    older: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "rollbook.db"
    url = f"sqlite:///{path}"
    server, site = _start_older(path, older)
    for number in range(5):
        assert _make_tag(site, f"{LONG}{number}").status == 201
    writing = Writing(server.client(site.token), site.id)
    writing.start()
    try:
        wait_until(lambda: len(writing.kept) >= 20 or writing.failed, 60)
        assert _revision(path) == OLDER_REVISION
        upgraded = run_rollbook("db", "upgrade", ROLLBOOK_DATABASE=url)
        assert upgraded.returncode == 0, upgraded.stderr
        assert _revision(path) == REVISIONS[-1]
        enough = len(writing.kept) + 20
        wait_until(lambda: len(writing.kept) >= enough or writing.failed, 60)
    finally:
        writing.stop()
        code = server.stop()
    assert (writing.failed, code) == ([], 0)
    # What the older program did not know of, and this one keeps, is made anew when it begins to serve.
    _is_all_there(path, site, writing.kept)


def _is_all_there(path: Path, site: SiteWorld, kept: dict[str, str]) -> None:
    """Start this program on the file, and look for everything that the older one answered."""
    server = start_server(path, ROLLBOOK_DATABASE=f"sqlite:///{path}")
    try:
        client = server.client(site.token)
        for contact, city in kept.items():
            assert client.get(contact).json["data"]["attributes"]["address_city"] == city
        assert client.get("/v1/contacts?page[size]=1").json["meta"]["total"] == len(kept)
        assert client.get("/v1/contacts?filter[search]=written&page[size]=1").json["meta"]["total"] == len(
            kept
        )
        last = len(kept) - 1
        again = client.post("/v1/contacts", site.document(name="Again", email=f"W{last}@example.test"))
        assert again.status == 422
    finally:
        assert server.stop() == 0
    assert run_rollbook("db", "check", ROLLBOOK_DATABASE=f"sqlite:///{path}").returncode == 0


@only_sqlite
def test_what_an_older_program_left_uncounted_is_counted_by_the_first_start_that_succeeds(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rollbook.db"
    url, lock = f"sqlite:///{path}", tmp_path / "rollbook.db.lock"
    server = start_server(path)
    assert server.new_site().create(email="a@x.test", subscribed=True).status == 201
    assert server.stop() == 0
    run_sql(url, "DELETE FROM contact_days")
    lock.write_text(f"1 {REVISIONS[-2]}")
    port = str(free_port())
    failed = run_rollbook("serve", ROLLBOOK_DATABASE=url, PORT=port, ROLLBOOK_METRICS_PORT=port)
    assert (failed.returncode, "choose another" in failed.stderr) == (1, True)
    assert start_server(path).stop() == 0
    assert run_rollbook("db", "check", ROLLBOOK_DATABASE=url).returncode == 0
    assert lock.read_text().split()[1:] == [REVISIONS[-1]], "the next start need not count"


def _upgrade_and_die(url: str, after: int) -> "subprocess.CompletedProcess[str]":
    """Begin `db upgrade`, which is killed after so many statements of its migrations; 0 for never."""
    return subprocess.run(
        [sys.executable, "-c", DYING, str(after), "db", "upgrade"],
        env=os.environ | {"ROLLBOOK_DATABASE": url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _deaths(url: Callable[[], str]) -> list[int]:
    """Return after how many statements to die: at the beginning, in the midst, and just before COMMIT."""
    whole = _upgrade_and_die(url(), 0)
    assert whole.returncode == 0, whole.stderr
    statements = int(whole.stdout.splitlines()[-1])
    assert statements >= 8
    return sorted({2, statements // 2, statements - 1, statements})


def _content(path: Path) -> str:
    """Return a hash of what a file holds of people and tags."""
    rows = [
        run_sql(f"sqlite:///{path}", f"SELECT site_id, id, {column} FROM {table} ORDER BY site_id, id")
        for table, column in (("contacts", "email_key"), ("contact_tags", "unique_name"))
    ]
    return hashlib.sha256(repr(rows).encode()).hexdigest()


@only_sqlite
def test_a_migration_of_a_filled_file_that_is_killed_is_undone_and_resumes(
    filled: Path, tmp_path: Path
) -> None:
    copies = iter(range(100))

    def copy() -> Path:
        return Path(shutil.copy(filled, tmp_path / f"{next(copies)}.db"))

    before = _content(filled)
    for after in _deaths(lambda: f"sqlite:///{copy()}"):
        path = copy()
        killed = _upgrade_and_die(f"sqlite:///{path}", after)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert (_revision(path), _content(path)) == (OLDER_REVISION, before)
        resumed = run_rollbook("db", "upgrade", ROLLBOOK_DATABASE=f"sqlite:///{path}")
        assert resumed.returncode == 0, resumed.stderr
        assert _revision(path) == REVISIONS[-1]
        assert run_rollbook("db", "check", ROLLBOOK_DATABASE=f"sqlite:///{path}").returncode == 0
        counted = run_sql(f"sqlite:///{path}", "SELECT count(*), max(length(unique_name)) FROM contact_tags")
        assert counted == [(5, 1_000)]


@pytest.fixture
def empty_databases() -> Iterator[Callable[[], str]]:
    """Make empty databases of PostgreSQL; they are gone after the test."""
    made: list[str] = []

    def make() -> str:
        name = f"empty_{len(made)}"
        with psycopg.connect(os.environ[POSTGRESQL], autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        made.append(name)
        return os.environ[POSTGRESQL].replace("/postgres", f"/{name}")

    yield make
    with psycopg.connect(os.environ[POSTGRESQL], autocommit=True) as connection:
        for name in made:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@only_postgresql
def test_a_migration_on_postgresql_that_is_killed_is_undone_and_resumes(
    empty_databases: Callable[[], str],
) -> None:
    for after in _deaths(empty_databases):
        url = empty_databases()
        waits = subprocess.Popen(
            [sys.executable, "-m", "rollbook", "db", "upgrade"],
            env=os.environ | {"ROLLBOOK_DATABASE": (other := empty_databases())},
            stdout=subprocess.DEVNULL,
        )
        # Beside a whole one that has the lock before or after it.
        beside = _upgrade_and_die(other, after)
        assert waits.wait(120) == 0
        assert beside.returncode in (-signal.SIGKILL, 0), beside.stderr
        killed = _upgrade_and_die(url, after)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        wait_until(lambda url=url: _tables(url) <= {"migrating"}, 30)
        resumed = run_rollbook("db", "upgrade", ROLLBOOK_DATABASE=url)
        assert resumed.returncode == 0, resumed.stderr
        assert _tables(url) == _tables(other)
        for each in (url, other):
            assert run_sql(each, "SELECT version_num FROM alembic_version") == [(REVISIONS[-1],)]
            assert run_rollbook("db", "check", ROLLBOOK_DATABASE=each).returncode == 0


def _tables(url: str) -> set[str]:
    return {name for (name,) in run_sql(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
