"""Proves that a stranger gets from nothing to a contact with one command and the lines that it prints."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from databases import content, empty_url_of, on_postgresql, run_sql, url_of
from support import RunningServer, run_rollbook, start_server


def printed_lines(server: RunningServer) -> str:
    """Return the lines to paste: from the token to the last curl."""
    return server.greeting[server.greeting.index("TOKEN=") :]


def test_the_printed_lines_give_200_201_200_200(serve: Callable[..., RunningServer]) -> None:
    server = serve()
    pasted = subprocess.run(
        ["bash", "-c", printed_lines(server)], capture_output=True, text=True, timeout=60, check=True
    )
    assert pasted.stderr.split() == ["200", "201"]
    assert re.findall(r"^\d{3}$", pasted.stdout, re.MULTILINE) == ["200", "200"]
    assert pasted.stdout.count('"name":"John Doe"') == 3


def test_the_first_start_makes_site_123_and_shows_the_secret_once(tmp_path: Path) -> None:
    first = start_server(tmp_path / "rollbook.db")
    assert re.search(r"site id +123\n +client_id +\w+\n +client_secret +\w{64}\n", first.greeting)
    secret = re.search(r"client_secret +(\w+)\n", first.greeting)
    assert secret is not None
    assert first.stop() == 0
    second = start_server(tmp_path / "rollbook.db")
    assert secret[1] not in second.greeting
    assert "client_secret" not in second.greeting
    assert "rollbook keys create" in second.greeting
    assert second.client().get("/readyz").status == 200
    assert second.stop() == 0
    for file in tmp_path.iterdir():
        assert secret[1].encode() not in file.read_bytes()
    assert secret[1].encode() not in content(second.database_url)


@pytest.mark.sqlite
def test_the_database_is_readable_by_its_owner_alone(serve: Callable[..., RunningServer]) -> None:
    assert os.stat(serve().database).st_mode & 0o077 == 0


@pytest.mark.sqlite
def test_a_second_server_on_one_file_is_refused_and_the_first_goes_on(
    serve: Callable[..., RunningServer],
) -> None:
    server = serve()
    second = run_rollbook("serve", PORT="0", ROLLBOOK_DATABASE=server.database_url)
    assert second.returncode == 1
    assert f"Another Rollbook server (process {server.process.pid}) serves {server.database}" in second.stderr
    assert server.client().get("/livez").status == 200


def test_a_taken_port_is_named_with_what_to_do(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    server = serve()
    other = url_of(tmp_path / "other.db")
    taken = run_rollbook("serve", PORT=str(server.port), HOST="127.0.0.1", ROLLBOOK_DATABASE=other)
    assert taken.returncode == 1
    assert f"Cannot listen on 127.0.0.1, port {server.port}: Address already in use." in taken.stderr
    assert "PORT=8001" in taken.stderr
    assert on_postgresql() or not (tmp_path / "other.db").exists()


def test_an_address_of_another_machine_cannot_be_listened_on(tmp_path: Path) -> None:
    refused = run_rollbook("serve", HOST="192.0.2.1", PORT="0", ROLLBOOK_DATABASE=url_of(tmp_path / "a.db"))
    assert refused.returncode == 1
    assert "Cannot listen on 192.0.2.1" in refused.stderr


def test_the_public_url_begins_every_link(serve: Callable[..., RunningServer]) -> None:
    server = serve(ROLLBOOK_PUBLIC_URL="https://crm.example.test/")
    # The greeting names the public URL, and the port is found by the database's server alone.
    site = server.new_site()
    made = site.create(email="a@b.c")
    assert made.headers["location"].startswith("https://crm.example.test/v1/contacts/")
    assert site.client.get("/v1/contacts").json["links"]["self"] == "https://crm.example.test/v1/contacts"


def test_a_database_newer_than_the_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    url = empty_url_of(tmp_path / "rollbook.db")
    assert run_rollbook("db", "upgrade", ROLLBOOK_DATABASE=url).returncode == 0
    run_sql(url, "UPDATE alembic_version SET version_num = '9999'")
    for command in (["serve"], ["db", "upgrade"], ["db", "check"], ["sites", "list"], ["keys", "create"]):
        refused = run_rollbook(*command, PORT="0", ROLLBOOK_DATABASE=url)
        assert refused.returncode == 1
        assert "has the schema 9999, which is newer than this program" in refused.stderr
    assert run_sql(url, "SELECT version_num FROM alembic_version") == [("9999",)]
