"""Proves what each command prints, makes and refuses."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from databases import empty_url_of, on_postgresql, run_sql
from rollbook import __version__
from rollbook.cli import main
from rollbook.register.callers import PERMISSIONS
from rollbook.settings import Settings
from rollbook.storage.tables import REVISIONS
from support import RunningServer, run_rollbook


@pytest.fixture
def rollbook(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a command on a database of the test's own, which is empty before the first."""

    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        url = {"ROLLBOOK_DATABASE": empty_url_of(tmp_path / "rollbook.db")}
        return run_rollbook(*arguments, **(url | environment))

    return run


Run = Callable[..., "subprocess.CompletedProcess[str]"]


def document(done: "subprocess.CompletedProcess[str]") -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def every_command(
    group: click.Group, path: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in group.commands.items():
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += every_command(command, (*path, name))
    return found


@pytest.mark.parametrize(
    ("path", "command"),
    every_command(main),
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_help_teaches(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help, option
    output = CliRunner().invoke(main, [*path, "--help"]).output
    assert "Usage: " in output
    if not isinstance(command, click.Group):
        documented = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
        assert f"## rollbook {' '.join(path)}\n" in documented


def test_the_main_help_names_all_commands() -> None:
    done = run_rollbook("--help")
    for name in main.commands:
        assert f"  {name} " in done.stdout
    assert "ROLLBOOK_DATABASE" in done.stdout


def test_version_and_openapi(rollbook: Run) -> None:
    assert rollbook("version").stdout == f"rollbook {__version__}\n"
    assert rollbook("--version").stdout == rollbook("version").stdout
    assert document(rollbook("version", "--json")) == {"version": __version__}
    described = document(rollbook("openapi", PORT="1234"))
    assert described["openapi"] == "3.1.0"
    assert described["servers"] == [{"url": "http://127.0.0.1:1234"}]


def test_the_installed_script_is_the_same_program() -> None:
    script = Path(sys.executable).with_name("rollbook")
    done = subprocess.run([script, "version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"rollbook {__version__}\n"


def test_upgrade_makes_the_schema_once(rollbook: Run, tmp_path: Path) -> None:
    url = empty_url_of(tmp_path / "rollbook.db")
    newest = REVISIONS[-1]
    assert rollbook("db", "upgrade").stdout == f"The schema of {url} is {newest} (it was none).\n"
    assert rollbook("db", "upgrade").stdout == f"The schema of {url} is {newest} (it was {newest}).\n"
    assert rollbook("db", "check").stdout == f"{url} is whole.\n"


def test_sites_are_made_and_listed(rollbook: Run) -> None:
    assert rollbook("db", "upgrade").returncode == 0
    assert document(rollbook("sites", "list", "--json")) == []
    kept = document(rollbook("sites", "create", "--id", "123", "--title", "Harbour Studio", "--json"))
    assert kept == {"id": "123", "title": "Harbour Studio", "subdomain": "harbour-studio"}
    new = document(rollbook("sites", "create", "--title", "Harbour Studio", "--json"))
    assert new["id"].startswith("2147")
    assert new["subdomain"] == f"harbour-studio-{new['id']}"
    plain = document(rollbook("sites", "create", "--json"))
    assert plain["title"] == f"Site {plain['id']}"
    named = document(rollbook("sites", "create", "--title", "日本", "--subdomain", "nihon", "--json"))
    assert document(rollbook("sites", "list", "--json")) == [kept, new, plain, named]
    table = rollbook("sites", "list").stdout.splitlines()
    assert table[0].split() == ["id", "subdomain", "title"]
    assert table[1].split() == ["123", "harbour-studio", "Harbour", "Studio"]
    assert rollbook("sites", "create", "--id", "5").stdout == "Made the site 5: Site 5 (site-5).\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--id", "123"), "There is a site 123 already."),
        (("--id", "0"), "The id 0 cannot be used"),
        (("--id", str(2**53)), "cannot be used"),
        (("--subdomain", "taken"), "The subdomain 'taken' is taken."),
        (("--subdomain", "No Way"), "The subdomain 'No Way' cannot be used"),
        (("--subdomain", ""), "The subdomain '' cannot be used"),
    ],
)
def test_a_site_that_cannot_be_is_refused(rollbook: Run, options: tuple[str, str], words: str) -> None:
    document(rollbook("sites", "create", "--id", "123", "--subdomain", "taken", "--json"))
    refused = rollbook("sites", "create", *options)
    assert refused.returncode == 1
    assert words in refused.stderr
    assert len(document(rollbook("sites", "list", "--json"))) == 1


def test_ids_that_came_from_elsewhere_are_passed_over(rollbook: Run) -> None:
    document(rollbook("sites", "create", "--id", "2147000001", "--json"))
    assert document(rollbook("sites", "create", "--json"))["id"] == "2147000002"


def test_a_key_needs_an_owner(rollbook: Run) -> None:
    refused = rollbook("keys", "create")
    assert refused.returncode == 1
    assert "There is no owner yet. `rollbook serve` makes one" in refused.stderr


def on(server: RunningServer, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_rollbook(*arguments, ROLLBOOK_DATABASE=server.database_url)


def test_keys_are_made_listed_rotated_and_deleted(serve: Callable[..., RunningServer]) -> None:
    server = serve()
    document(on(server, "sites", "create", "--id", "7", "--json"))
    whole = document(on(server, "keys", "create", "--json"))
    assert list(whole) == ["id", "name", "client_id", "client_secret", "sites", "permissions"]
    assert (whole["name"], whole["sites"], whole["permissions"]) == (
        "API key",
        ["7", "123"],
        list(PERMISSIONS),
    )
    part = document(
        on(
            server,
            "keys",
            "create",
            "--name",
            "Reader",
            "--site",
            "7",
            "--permission",
            "view:contacts",
            "--json",
        )
    )
    assert (part["sites"], part["permissions"]) == (["7"], ["view:contacts"])
    listed = document(on(server, "keys", "list", "--json"))
    assert [each["name"] for each in listed] == ["Owner", "API key", "Reader"]
    assert all("client_secret" not in each for each in listed)
    assert listed[2] == {name: value for name, value in part.items() if name != "client_secret"}
    rotated = document(on(server, "keys", "rotate", part["id"], "--json"))
    assert rotated["client_id"] == part["client_id"]
    assert rotated["client_secret"] != part["client_secret"]
    assert server.token(rotated["client_id"], rotated["client_secret"])
    told = on(server, "keys", "rotate", part["client_id"]).stdout
    assert "shown this once" in told
    assert part["client_id"] in told
    deleted = on(server, "keys", "delete", part["client_id"])
    assert deleted.stdout == f"Deleted the key {part['id']}: Reader ({part['client_id']}).\n"
    assert "Reader" not in on(server, "keys", "list").stdout
    again = on(server, "keys", "delete", part["id"])
    assert (again.returncode, "There is no key" in again.stderr) == (1, True)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--site", "9"), 1, "There is no site 9."),
        (("--permission", "fly"), 2, "'fly' is not one of"),
        (("--site", "x"), 2, "x"),
    ],
)
def test_a_key_that_cannot_be_is_refused(
    server: RunningServer, options: tuple[str, str], code: int, words: str
) -> None:
    refused = on(server, "keys", "create", *options)
    assert refused.returncode == code
    assert words in refused.stderr


def test_a_new_site_is_seen_at_once_by_a_key_that_sees_all(serve: Callable[..., RunningServer]) -> None:
    server = serve()
    key = document(on(server, "keys", "create", "--json"))
    client = server.client(server.token(key["client_id"], key["client_secret"]))
    assert [each["id"] for each in client.get("/v1/sites").json["data"]] == ["123"]
    document(on(server, "sites", "create", "--id", "7", "--json"))
    assert [each["id"] for each in client.get("/v1/sites").json["data"]] == ["7", "123"]


DAMAGES = {
    "UPDATE contact_counts SET contacts = 5": "counts: site 123 has 1 contacts, but 5 are noted",
    "DELETE FROM consent_events": "is subscribed, but its ledger says never subscribed",
    "DELETE FROM contact_search": "is missing from the index",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_check_finds_damage(serve: Callable[..., RunningServer], damage: str) -> None:
    server = serve()
    key = document(on(server, "keys", "create", "--json"))
    client = server.client(server.token(key["client_id"], key["client_secret"]))
    site = {"site": {"data": {"type": "sites", "id": "123"}}}
    made = client.post(
        "/v1/contacts",
        {"data": {"attributes": {"email": "a@b.c", "subscribed": True}, "relationships": site}},
    )
    assert made.status == 201
    assert on(server, "db", "check").returncode == 0
    run_sql(server.database_url, damage)
    found = on(server, "db", "check")
    assert found.returncode == 1
    assert DAMAGES[damage] in found.stdout
    assert "restore a backup" in found.stderr


@pytest.mark.sqlite
def test_check_finds_references_to_nothing(serve: Callable[..., RunningServer]) -> None:
    server = serve()
    assert server.new_site().client.get("/v1/contacts").status == 200
    run_sql(server.database_url, "DELETE FROM keys")
    found = on(server, "db", "check")
    assert (found.returncode, "foreign key: row" in found.stdout) == (1, True)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://user:secret@host/db", "is not understood. Set ROLLBOOK_DATABASE to sqlite:///<path>"),
        (
            "postgres://user:secret@no.such.host.invalid/db",
            "postgresql://user@no.such.host.invalid/db cannot be used",
        ),
        ("postgresql://user:secret@127.0.0.1:1/db", "postgresql://user@127.0.0.1:1/db cannot be used"),
        (
            "postgresql://user@127.0.0.1:1/db?password=secret",
            "postgresql://user@127.0.0.1:1/db cannot be used",
        ),
        ("postgresql://user:a secret@host/db", "is not understood"),
        ("postgresql://user:a@secret@host/db", "is not understood"),
        ("postgresql://user:a@b:secret@host/db", "is not understood"),
        ("postgresql://user:a/secret@host/db", "is not understood"),
        ("postgresql://user:1/secret@host/db", "is not understood"),
        ("postgresql://user:%zzsecret@host/db", "is not understood"),
        ("postgresql://user@host/db?secret=secret", "is not understood"),
        ("sqlite://", "is not understood"),
        ("rollbook.db", "is not understood"),
        ("sqlite:////nowhere/at/all/rollbook.db", "The folder /nowhere/at/all does not exist."),
        ("sqlite:////proc/rollbook.db", "cannot be opened for writing"),
        ("sqlite:////dev/null/rollbook.db", "cannot be opened for writing"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused_with_what_to_do(url: str, words: str) -> None:
    for command in (["serve"], ["db", "upgrade"], ["sites", "create"]):
        refused = run_rollbook(*command, PORT="0", ROLLBOOK_DATABASE=url)
        assert refused.returncode == 1
        assert words in refused.stderr
        assert "ROLLBOOK_DATABASE" in refused.stderr
        assert "secret" not in refused.stderr
        assert "Traceback" not in refused.stderr


READING = [("db", "check"), ("sites", "list"), ("keys", "list"), ("users", "list")]
READS = pytest.mark.parametrize("command", READING, ids=" ".join)


def refused_with(words: str, command: tuple[str, ...], url: str) -> None:
    done = run_rollbook(*command, ROLLBOOK_DATABASE=url)
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (1, "", False)
    assert words in done.stderr


@READS
@pytest.mark.sqlite
def test_a_command_that_only_reads_makes_no_file(command: tuple[str, ...], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/mistyped.db"
    refused_with(f"There is no register in {url}. Set ROLLBOOK_DATABASE to", command, url)
    assert list(tmp_path.iterdir()) == []


@READS
def test_a_command_that_only_reads_makes_no_register(command: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "rollbook.db"
    url = empty_url_of(path)
    if on_postgresql():
        refused_with("or make one there with `rollbook serve`.", command, url)
        assert run_sql(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []
    else:
        path.touch()
        refused_with("or make one there with `rollbook serve`.", command, url)
        assert [each.stat().st_size for each in tmp_path.iterdir()] == [0]


@READS
@pytest.mark.sqlite
def test_a_command_that_only_reads_leaves_the_file_of_another_program_as_it_is(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    other = tmp_path / "other.db"
    run_sql(f"sqlite:///{other}", "CREATE TABLE notes (note TEXT)")
    before = other.read_bytes()
    refused_with("There is no register in", command, f"sqlite:///{other}")
    assert {each: each.read_bytes() for each in tmp_path.iterdir()} == {other: before}


@READS
def test_a_command_that_only_reads_leaves_an_older_schema_to_the_upgrade(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    url = empty_url_of(tmp_path / "rollbook.db")
    assert run_rollbook("db", "upgrade", ROLLBOOK_DATABASE=url).returncode == 0
    run_sql(url, "DROP TABLE contact_days")
    run_sql(url, "UPDATE alembic_version SET version_num = ?", REVISIONS[-2])
    refused_with(f"The schema of {url} is {REVISIONS[-2]}", command, url)
    refused_with("Run `rollbook db upgrade` first", command, url)
    assert run_sql(url, "SELECT version_num FROM alembic_version") == [(REVISIONS[-2],)]


@pytest.mark.sqlite
def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("These are notes, not a database. " * 100)
    refused = run_rollbook("sites", "list", ROLLBOOK_DATABASE=f"sqlite:///{tmp_path}/notes.txt")
    assert refused.returncode == 1
    assert "is not a SQLite database, or is damaged" in refused.stderr


SETTINGS = {each.metadata["name"]: each for each in fields(Settings)}
BAD_VALUES = {
    "PORT": "80a", "ROLLBOOK_PUBLIC_URL": "crm.example.test", "ROLLBOOK_LOG_LEVEL": "loud", "ROLLBOOK_LOG_FORMAT": "x",
    "ROLLBOOK_METRICS_PORT": "70000", "ROLLBOOK_RATE_LIMIT": "-1", "ROLLBOOK_MAX_BODY_BYTES": "1",
    "ROLLBOOK_MAX_HEADER_BYTES": "x", "ROLLBOOK_MAX_CONNECTIONS": "0", "ROLLBOOK_MAX_WAITING": "0",
    "ROLLBOOK_HEADER_SECONDS": "0", "ROLLBOOK_BODY_SECONDS": "1.5", "ROLLBOOK_IDLE_SECONDS": "٣", "ROLLBOOK_STRICT": "yes",
    "ROLLBOOK_CORS_ORIGINS": "app.example.test", "ROLLBOOK_PASSWORD_GRANT": "yes", "ROLLBOOK_PREPARED_STATEMENTS": "never",
}  # fmt: skip
ANY_TEXT = {"ROLLBOOK_DATABASE", "HOST", "ROLLBOOK_OWNER_NAME", "ROLLBOOK_OWNER_EMAIL"}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_documented_and_refuses_what_it_cannot_use_by_name(name: str) -> None:
    setting = SETTINGS[name]
    line = f"| `{name}` | {f'`{setting.default}`' if setting.default != '' else 'none'} | {setting.metadata['meaning']} |"
    assert line in (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    assert (name in BAD_VALUES) != (name in ANY_TEXT)
    if name in BAD_VALUES:
        refused = run_rollbook("sites", "list", **{name: BAD_VALUES[name]})
        assert refused.returncode == 1
        assert f"{name} is {BAD_VALUES[name]!r}, but must" in refused.stderr


def test_an_empty_setting_counts_as_absent() -> None:
    assert Settings.read({"PORT": "", "HOST": ""}) == Settings()
    assert Settings.read({"PORT": "81"}).port == 81


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://localhost:80"), ("::1", "http://[::1]:80"), ("10.1.2.3", "http://10.1.2.3:80")],
)
def test_the_base_url_follows_from_the_host(host: str, url: str) -> None:
    assert Settings(host=host).base_url(80) == url
