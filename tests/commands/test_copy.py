"""Proves that a copy of a register is the register, whatever kind of database it came from and whoever was killed."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from commands.registers import KINDS, Source, copied
from contract.answers import shown, tag_ids
from extensions.writes import is_replayed, keyed, resource, total

from databases import run_sql
from rollbook.storage import copying
from rollbook.storage.copying import Proof
from rollbook.storage.faults import StorageError
from rollbook.storage.migrate import bring_up_to_date
from rollbook.storage.opening import open_database
from support import RunningServer, run_rollbook

Empty = Callable[[str], str]


def digests(proofs: list[Proof]) -> dict[str, tuple[int, str]]:
    assert all(each.is_alike for each in proofs)
    return {each.table: each.copy for each in proofs}


def schema(url: str) -> list[Any]:
    """Return the tables and indexes of a database, as it describes them itself."""
    if url.startswith("sqlite"):
        return run_sql(url, "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name")
    return run_sql(url, "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1")


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back_everything_is_the_same_to_the_last_byte(
    source: Source, empty: Empty, kind: str
) -> None:
    there, back = empty(kind), empty(source.url.partition(":")[0])
    first = digests(copied(source.url, there))
    assert digests(copied(there, back)) == first
    assert all(first[table][0] for table in ("contacts", "contact_tags", "contact_taggings", "contact_notes"))
    assert all(first[table][0] for table in ("custom_fields", "consent_events", "audit_events", "tokens"))
    assert all(first[table][0] for table in ("contact_tombstones", "kept_answers", "id_leases", "key_sites"))
    fresh = empty(kind)
    with contextlib.closing(open_database(fresh)) as database:
        bring_up_to_date(database)
    assert schema(there) == schema(fresh)
    for url in (there, back):
        assert run_rollbook("db", "check", ROLLBOOK_DATABASE=url).returncode == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_on_the_copy_goes_on_where_the_other_ended(
    source: Source, empty: Empty, serve: Callable[..., RunningServer], kind: str
) -> None:
    target = empty(kind)
    copied(source.url, target)
    client = serve(ROLLBOOK_DATABASE=target).client(source.token)
    for contact in source.contacts:
        found = shown(client, f"/v1/contacts/{contact['id']}")
        assert found["attributes"] == contact["attributes"]
        assert tag_ids(found) == tag_ids(contact)
    assert total(client, "/v1/contacts?filter[name_contains]=drop%20table") == 1
    kept = {"data": resource(source.site, name="Kept", email="kept@x.test")}
    assert is_replayed(client.post("/v1/contacts", kept, headers=keyed("once")))
    new = client.post("/v1/contacts", source.site.document(email="new@x.test")).json["data"]
    assert int(new["id"]) > max(int(each["id"]) for each in source.contacts)


DYING = """
import os, signal, sys
from rollbook.storage import copying
from rollbook.storage.postgresql import PostgreSQLSession
from rollbook.storage.postgresql_carrier import PostgreSQLCarrier
from rollbook.storage.sqlite import SQLiteSession

copying.MOST_ROWS = 2
how, left = int(sys.argv.pop(1)), int(sys.argv.pop(1))

def dying(method):
    def call(*given):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), how)
        return method(*given)
    return call

for each in (SQLiteSession, PostgreSQLSession, PostgreSQLCarrier):
    for name in ("order", "load", "commit"):
        if hasattr(each, name):
            setattr(each, name, dying(getattr(each, name)))
from rollbook.cli import main
main()
"""


def killed(how: signal.Signals, steps: int, source: str, target: str) -> "subprocess.CompletedProcess[str]":
    """Copy in a process that sends itself a signal after so many steps."""
    command = [sys.executable, "-c", DYING, str(int(how)), str(steps), "db", "copy", source, target]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_any_moment_the_same_command_completes_it(source: Source, empty: Empty, kind: str) -> None:
    target = empty(kind)
    # Before it is marked, among small tables, among contacts, behind them.
    for steps in (4, 30, 40, 25, 60):
        assert killed(signal.SIGKILL, steps, source.url, target).returncode == -signal.SIGKILL
    for command in (["serve"], ["db", "check"]):
        refused = run_rollbook(*command, ROLLBOOK_DATABASE=target, PORT="0")
        assert refused.returncode == 1
        assert "is an unfinished copy of another. Run the same `rollbook db copy` again" in refused.stderr
        assert "Traceback" not in refused.stderr
    done = run_rollbook("db", "copy", source.url, target)
    assert done.returncode == 0, done.stderr
    assert " before" in done.stderr
    assert "contacts: " in done.stdout
    assert digests(copied(target, empty("sqlite"))) == digests(copied(source.url, empty("sqlite")))
    assert run_rollbook("db", "check", ROLLBOOK_DATABASE=target).returncode == 0


@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c_ends_it_with_a_sentence_and_the_same_command_goes_on(
    source: Source, empty: Empty, kind: str
) -> None:
    target = empty(kind)
    done = killed(signal.SIGINT, 70, source.url, target)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert done.stderr.endswith("Error: Interrupted. The same command again completes the copy.\n")
    assert digests(copied(source.url, target))


@pytest.fixture
def interrupted(
    source: Source, empty: Empty, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> str:
    """An unfinished copy of the source, which lacks no more than its end."""
    target = empty(request.param)
    interrupt_copy(source.url, target, monkeypatch)
    return target


def interrupt_copy(source: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy, and be interrupted before the end."""

    def interrupt(_copy: copying.Copy) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(copying.Copy, "complete", interrupt)
        with pytest.raises(KeyboardInterrupt):
            copied(source, target)


@pytest.mark.parametrize("interrupted", KINDS, indirect=True)
def test_a_damaged_row_is_found_and_its_table_named(source: Source, interrupted: str) -> None:
    run_sql(
        interrupted, "UPDATE contact_notes SET body = 'other' WHERE id = (SELECT min(id) FROM contact_notes)"
    )
    done = run_rollbook("db", "copy", source.url, interrupted)
    assert done.returncode == 1
    assert "Error: contact_notes: not what " in done.stderr
    assert "begin anew" in done.stderr
    assert run_rollbook("serve", ROLLBOOK_DATABASE=interrupted, PORT="0").returncode == 1


@pytest.mark.parametrize("interrupted", KINDS, indirect=True)
def test_an_unfinished_copy_is_completed_from_its_own_source_alone(
    source: Source, empty: Empty, interrupted: str
) -> None:
    other = empty("sqlite")
    copied(source.url, other)
    with pytest.raises(StorageError, match=r"is an unfinished copy of .* with the schema"):
        copied(other, interrupted)
    with pytest.raises(StorageError, match="is an unfinished copy"):
        copied(interrupted, empty("sqlite"))
    assert digests(copied(source.url, interrupted))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE users SET name = 'Other'", "Error: users: not what "),
        (
            "INSERT INTO keys SELECT 4000000000000, 1, name, 'other', secret_hash, all_sites, permissions, created_at "
            "FROM keys LIMIT 1",
            "does not take rows of keys",
        ),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_source_that_changed_after_an_interruption_is_told(
    source: Source, empty: Empty, monkeypatch: pytest.MonkeyPatch, kind: str, change: str, words: str
) -> None:
    changing, target = empty("sqlite"), empty(kind)
    copied(source.url, changing)
    interrupt_copy(changing, target, monkeypatch)
    run_sql(changing, change)
    done = run_rollbook("db", "copy", changing, target)
    assert (done.returncode, words in done.stderr, "Traceback" in done.stderr) == (1, True, False), done


@pytest.mark.parametrize("kind", KINDS)
def test_a_register_is_never_copied_over(source: Source, empty: Empty, kind: str) -> None:
    target = empty(kind)
    assert run_rollbook("sites", "create", "--id", "7", ROLLBOOK_DATABASE=target).returncode == 0
    done = run_rollbook("db", "copy", source.url, target)
    assert done.returncode == 1
    assert "holds a register already: there are rows in" in done.stderr
    assert run_sql(target, "SELECT id FROM sites") == [(7,)]
    assert run_rollbook("sites", "list", ROLLBOOK_DATABASE=target).returncode == 0


def test_what_cannot_be_copied_is_refused_with_a_sentence(source: Source, empty: Empty) -> None:
    nothing, other = empty("sqlite"), empty("sqlite")
    for one, two, words in (
        (source.url, source.url, "are the same database"),
        (nothing, other, "There is no register in"),
        (empty("postgresql"), other, "There is no register in"),
        ("mysql://host/name", other, "is not understood"),
        (source.url, "rollbook.db", "is not understood"),
        (source.url, "postgresql://rollbook@127.0.0.1:1/nothing", "cannot be used"),
    ):
        done = run_rollbook("db", "copy", one, two)
        assert (done.returncode, words in done.stderr, "Traceback" in done.stderr) == (1, True, False), done
    for url in (nothing, other):
        assert not os.path.exists(url.removeprefix("sqlite:///"))
    begun = empty("postgresql")
    copied(source.url, begun)
    same = begun.replace("127.0.0.1", "localhost")
    with pytest.raises(StorageError, match="is both FROM and TO"):
        copied(begun, same)


def test_a_schema_of_another_program_is_not_copied(source: Source, empty: Empty) -> None:
    old = empty("sqlite")
    copied(source.url, old)
    run_sql(old, "UPDATE alembic_version SET version_num = '0002'")
    with pytest.raises(StorageError, match="Run `rollbook db upgrade`"):
        copied(old, empty("sqlite"))


@pytest.mark.parametrize("kind", KINDS)
def test_two_cannot_copy_into_one_database(source: Source, empty: Empty, kind: str) -> None:
    target = empty(kind)
    with contextlib.closing(open_database(target)) as database:
        carrier = database.engine.open_carrier(writing=True)
        with pytest.raises(StorageError, match=r"copied already|serves .* already"):
            copied(source.url, target)
        carrier.close()


def test_it_tells_how_far_it_is(source: Source, empty: Empty) -> None:
    done = run_rollbook("db", "copy", source.url, empty("sqlite"))
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(copying.TABLES) + len(("indexes", "search index"))
    for line, table in zip(lines, copying.TABLES, strict=False):
        assert line.startswith(f"{table.name}: ")
        assert " rows in " in line
    assert len(done.stdout.splitlines()) == len(copying.TABLES) + 1
    assert done.stdout.splitlines()[-1].endswith("holds all that " + done.stdout.split()[-2] + " does.")
