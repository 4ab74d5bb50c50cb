"""Proves that commands meet odd surroundings with a sentence and an exit code, never with a traceback."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from databases import copied, empty_url_of, run_sql, url_of
from rollbook.storage.tables import REVISIONS
from support import Client, RunningServer, run_rollbook, wait_until

Serve = Callable[..., RunningServer]


def refused_with(done: "subprocess.CompletedProcess[str]", *words: str, code: int = 1) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    for each in words:
        assert each in done.stderr


def roots(database: Path) -> dict[str, int]:
    """Return the page at which each table and index begins, by its name."""
    connection = sqlite3.connect(database)
    try:
        rows = connection.execute("SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0").fetchall()
    finally:
        connection.close()
    return dict(rows) | {"schema": 1}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A register with a site and nothing else, which no server has open."""
    path = tmp_path_factory.mktemp("sound") / "sound.db"
    url = url_of(path)
    assert run_rollbook("sites", "create", "--id", "7", ROLLBOOK_DATABASE=url).returncode == 0
    assert run_rollbook("db", "check", ROLLBOOK_DATABASE=url).returncode == 0
    return path


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("of", "commands"),
    [
        ("schema", (["db", "check"], ["sites", "list"], ["serve"])),
        ("alembic_version", (["db", "check"], ["db", "upgrade"], ["serve"])),
        ("sites", (["db", "check"], ["sites", "list"], ["sites", "create"])),
        ("keys", (["db", "check"], ["keys", "list"])),
        ("contacts", (["db", "check"],)),
        ("contacts_by_name", (["db", "check"],)),
        ("contact_search_data", (["db", "check"],)),
        ("id_leases", (["db", "check"], ["sites", "create"])),
    ],
)
def test_a_damaged_page_is_told_with_what_to_do(
    sound: Path, tmp_path: Path, of: str, commands: tuple[list[str], ...]
) -> None:
    whole = sound.read_bytes()
    size = int.from_bytes(whole[16:18], "big")
    start = (roots(sound)[of] - 1) * size
    damaged = tmp_path / "damaged.db"
    for command in commands:
        # The head of the file stays: without it, nothing would tell that it is a database at all.
        kept = whole[: max(start, 100)]
        damaged.write_bytes(kept + b"\x55" * (start + size - len(kept)) + whole[start + size :])
        done = run_rollbook(*command, ROLLBOOK_DATABASE=f"sqlite:///{damaged}", PORT="0")
        refused_with(done, str(damaged), "restore a backup")


@pytest.mark.sqlite
def test_a_damaged_page_that_an_interrupted_erasure_meets_ends_the_start(sound: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.db"
    copied(sound, damaged)
    run_sql(
        url_of(damaged), "INSERT INTO contact_tombstones VALUES (7, 9, NULL, 0, '2026-05-01T10:00:00.000Z')"
    )
    whole = damaged.read_bytes()
    start = (roots(damaged)["contacts"] - 1) * 4096
    damaged.write_bytes(whole[:start] + b"\x55" * 4096 + whole[start + 4096 :])
    done = run_rollbook("serve", ROLLBOOK_DATABASE=f"sqlite:///{damaged}", PORT="0")
    refused_with(done, str(damaged), "restore a backup")


@pytest.mark.sqlite
def test_a_database_cut_short_is_told_with_what_to_do(sound: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.db"
    cut.write_bytes(sound.read_bytes()[: 8 * 4096])
    refused_with(run_rollbook("db", "check", ROLLBOOK_DATABASE=f"sqlite:///{cut}"), "restore a backup")


@pytest.mark.sqlite
def test_a_lock_file_that_cannot_be_written_is_told_with_what_to_do_and_keeps_its_note(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve()
    assert server.stop() == 0
    lock = server.database.with_name(server.database.name + ".lock")
    note = lock.read_text()
    assert note.split()[1:] == [REVISIONS[-1]]
    # No file may grow beyond nothing: as on a full disk, but for the reason that the system gives.
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 0 && exec "$@"', "sh", sys.executable, "-m", "rollbook", "serve"],
        env=os.environ | {"ROLLBOOK_DATABASE": server.database_url, "PORT": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    refused_with(done, f"The lock file {lock} cannot be written", "Make room on the disk", "try again")
    assert lock.read_text() == note
    serve(server.database)


NO_TEXT = os.fsdecode(b"\xff")


@pytest.mark.parametrize(
    "command",
    [
        ["sites", "create", "--title", NO_TEXT], ["keys", "create", "--name", NO_TEXT], ["keys", "delete", NO_TEXT],
        ["sites", "create", "--subdomain", NO_TEXT], [NO_TEXT],
    ],
)  # fmt: skip
def test_an_argument_that_is_no_text_is_refused(sound: Path, command: list[str]) -> None:
    done = run_rollbook(*command, ROLLBOOK_DATABASE=url_of(sound))
    refused_with(done, "An argument is not text in UTF-8.", code=2)


@pytest.mark.parametrize(
    "name", ["ROLLBOOK_DATABASE", "HOST", "ROLLBOOK_PUBLIC_URL", "ROLLBOOK_OWNER_NAME", "ROLLBOOK_OWNER_EMAIL", "PORT"]
)  # fmt: skip
def test_a_setting_that_is_no_text_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    settings = {"ROLLBOOK_DATABASE": empty_url_of(tmp_path / "new.db"), "PORT": "0"}
    refused_with(run_rollbook("serve", **(settings | {name: "http://" + NO_TEXT})), name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a b", "x" * 70 + "é", "..", "127.0.0.1:80"])
def test_a_host_that_is_none_is_refused_by_its_name(tmp_path: Path, host: str) -> None:
    url = url_of(tmp_path / "new.db")
    done = run_rollbook("serve", HOST=host, PORT="0", ROLLBOOK_DATABASE=url)
    refused_with(done, f"Cannot listen on {host}, port 0", "HOST")


def test_metrics_on_the_port_of_the_api_are_refused(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    port = str(server.port)
    server.stop()
    url = url_of(tmp_path / "other.db")
    done = run_rollbook("serve", PORT=port, ROLLBOOK_METRICS_PORT=port, ROLLBOOK_DATABASE=url)
    refused_with(done, f"ROLLBOOK_METRICS_PORT is {port}, the port of the API")


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "name", ["two words.db", "100%.db", "a?mode=ro&x#y.db", "größe.db", "%20.db", "'.db"]
)
def test_the_name_of_the_database_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    url = f"sqlite:///{tmp_path}/{name}"
    assert run_rollbook("sites", "create", "--id", "7", ROLLBOOK_DATABASE=url).returncode == 0
    assert (tmp_path / name).stat().st_size > 0
    assert [each["id"] for each in json.loads(run_rollbook("sites", "list", "--json", ROLLBOOK_DATABASE=url).stdout)] == ["7"]  # fmt: skip


@pytest.mark.sqlite
def test_a_relative_database_is_beside_the_working_directory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rollbook", "db", "upgrade"],
        cwd=tmp_path,
        env=os.environ | {"ROLLBOOK_DATABASE": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"The schema of sqlite:///rollbook.db is {REVISIONS[-1]} (it was none).\n"
    assert (tmp_path / "rollbook.db").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["sites", "create", "--id", "7"], ["sites", "create", "--subdomain", "-"], ["keys", "rotate", "nobody"],
        ["keys", "delete", "nobody"], ["keys", "create", "--site", "9"],
    ],
)  # fmt: skip
def test_what_is_refused_prints_no_document(sound: Path, command: list[str]) -> None:
    done = run_rollbook(*command, "--json", ROLLBOOK_DATABASE=url_of(sound))
    refused_with(done)
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("wrong", [["fly"], ["sites", "fly"], ["sites", "create", "--id", "x"], ["keys", "rotate"], ["serve", "x"]])  # fmt: skip
def test_a_command_called_wrongly_exits_with_2_and_shows_how(wrong: list[str]) -> None:
    refused_with(run_rollbook(*wrong), "Usage: ", "--help", code=2)


def test_ctrl_c_ends_the_server_in_order_and_a_restart_has_everything(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    site = server.new_site()
    made = site.create(email="ines@example.test")
    assert made.status == 201
    assert server.stop(signal.SIGINT) == 0
    again = serve()
    assert "client_secret" not in again.greeting
    client = again.client(site.token)
    shown = client.get(f"/v1/contacts/{made.json['data']['id']}").json["data"]
    assert shown["attributes"] == made.json["data"]["attributes"]
    refused = client.post("/v1/contacts", site.document(email="Ines@example.test"))
    assert (refused.status, refused.json["errors"][0]["meta"]) == (
        422,
        {"existing_id": made.json["data"]["id"]},
    )


def test_sites_made_before_the_first_start_are_kept_and_the_rest_is_left_to_commands(
    sound: Path, serve: Serve, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    copied(sound, copy)
    server = serve(copy)
    assert "rollbook keys create" in server.greeting
    assert "client_secret" not in server.greeting
    key = json.loads(run_rollbook("keys", "create", "--json", ROLLBOOK_DATABASE=server.database_url).stdout)
    assert key["sites"] == ["7"]
    client = server.client(server.token(key["client_id"], key["client_secret"]))
    assert [each["id"] for each in client.get("/v1/sites").json["data"]] == ["7"]


def test_a_server_is_reached_at_its_host_alone(serve: Serve, tmp_path: Path) -> None:
    narrow, wide = serve(), serve(tmp_path / "wide.db", HOST="0.0.0.0")
    assert f"listens on 127.0.0.1:{narrow.port}." in narrow.greeting
    assert f"listens on 0.0.0.0:{wide.port}." in wide.greeting
    assert f"http://localhost:{wide.port}/v1/oauth/token" in wide.greeting
    reached, refused = (Client(f"http://127.0.0.2:{port}") for port in (wide.port, narrow.port))
    assert reached.get("/livez").status == 200
    reached.close()
    with pytest.raises(ConnectionRefusedError):
        refused.get("/livez")


def test_checking_beside_a_busy_server_finds_it_whole(serve: Serve) -> None:
    server = serve()
    site = server.new_site()
    checking = subprocess.Popen(
        [sys.executable, "-m", "rollbook", "db", "check"],
        env=os.environ | {"ROLLBOOK_DATABASE": server.database_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    created = 0

    def checked() -> bool:
        nonlocal created
        assert site.create(email=f"a{created}@x.test", subscribed=True).status == 201
        created += 1
        return checking.poll() is not None

    wait_until(checked, 60)
    out, errors = checking.communicate()
    assert (checking.returncode, errors) == (0, "")
    assert out == f"{server.database_url} is whole.\n"
