"""Proves how users are listed and get passwords on the command line, and which passwords are refused."""

import json
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from databases import copied, empty_url_of, run_sql, url_of
from rollbook.register import passwords, users
from rollbook.storage.migrate import bring_up_to_date
from rollbook.storage.opening import open_database
from support import feed_rollbook, readable

EMAIL = "Mira@Example.test"
LONG = "correct horse, staple"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A register with an owner who has no password: copying it is quicker than making it."""
    path = tmp_path_factory.mktemp("users") / "rollbook.db"
    database = open_database(url_of(path))
    bring_up_to_date(database)
    with database.transaction() as transaction:
        users.create_owner(transaction, name="Mira Vance", email=EMAIL)
    database.close()
    return path


@pytest.fixture
def url(template: Path, tmp_path: Path) -> str:
    """A register with an owner who has no password."""
    return copied(template, tmp_path / "rollbook.db")


def set_password(url: str, password: str) -> None:
    database = open_database(url)
    try:
        with database.transaction() as transaction:
            passwords.change(transaction, EMAIL, passwords.hash_of(password))
    finally:
        database.close()


def run(url: str, *arguments: str, given: bytes = b"") -> "subprocess.CompletedProcess[str]":
    return feed_rollbook(given, *arguments, ROLLBOOK_DATABASE=url)


def document(done: "subprocess.CompletedProcess[str]") -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def kept(url: str) -> str | None:
    """Return the hash that is kept of the owner's password."""
    ((found,),) = run_sql(url, "SELECT password_hash FROM users")
    assert found is None or isinstance(found, str)
    return found


def fits(url: str, password: str) -> bool:
    return passwords.fits(kept(url), password)


def test_users_are_listed_with_whether_they_have_a_password(url: str) -> None:
    (owner,) = document(run(url, "users", "list", "--json"))
    assert owner.pop("id").isdecimal()
    shown = {"email": EMAIL, "name": "Mira Vance", "role_level": "OWNER", "has_password": False}
    assert owner == shown
    done = document(run(url, "users", "password", EMAIL, "--stdin", "--json", given=LONG.encode()))
    assert done["email"] == EMAIL
    assert done["has_password"] is True
    assert document(run(url, "users", "list", "--json")) == [done]
    head, line = run(url, "users", "list").stdout.splitlines()
    assert head.split() == ["id", "email", "name", "role_level", "has_password"]
    assert line.split() == [done["id"], EMAIL, "Mira", "Vance", "OWNER", "yes"]


def test_an_empty_register_has_no_users(tmp_path: Path) -> None:
    empty = empty_url_of(tmp_path / "empty.db")
    assert run(empty, "db", "upgrade").returncode == 0
    assert document(run(empty, "users", "list", "--json")) == []
    refused = run(empty, "users", "password", EMAIL, "--stdin", given=LONG.encode())
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "`rollbook serve` makes the owner" in refused.stderr


@pytest.mark.parametrize("email", [EMAIL, "MIRA@example.TEST"])
def test_a_password_is_read_from_one_line(url: str, email: str) -> None:
    done = run(url, "users", "password", email, "--stdin", given=f"{LONG}\nanother line\n".encode())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Set the password of {EMAIL}.\n"
    assert str(kept(url)).startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert fits(url, LONG)
    assert not fits(url, LONG + "\n")


@pytest.mark.parametrize(
    ("given", "password"),
    [
        (b"twelve chars\r\n", "twelve chars"),
        (b"  twelve chars  \n", "  twelve chars  "),
        ("zwölf Zeichen".encode(), "zwölf Zeichen"),
        ("密码密码密码密码密码密码\n".encode(), "密码密码密码密码密码密码"),
        (b"a" * 100_000 + b"\n", "a" * 100_000),
    ],
)
def test_a_password_is_taken_as_it_is_without_the_end_of_its_line(
    url: str, given: bytes, password: str
) -> None:
    assert run(url, "users", "password", EMAIL, "--stdin", given=given).returncode == 0
    assert fits(url, password)
    assert not fits(url, password.strip() if password != password.strip() else password[:-1])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"", "has 0 characters; it must have 12 or more."),
        (b"eleven char\n", "has 11 characters; it must have 12 or more."),
        ("zwölf Zeich".encode(), "has 11 characters; it must have 12 or more."),
        ("密码密码密码密\n".encode(), "has 7 characters; it must have 12 or more."),
        (b"twelve chars \xff\n", "is not text in UTF-8."),
    ],
)
def test_a_password_that_cannot_be_is_refused_and_the_old_one_stays(
    url: str, given: bytes, words: str
) -> None:
    set_password(url, LONG)
    before = kept(url)
    refused = run(url, "users", "password", EMAIL, "--stdin", "--json", given=given)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"Error: The password {words}\n"
    assert kept(url) == before


@pytest.mark.parametrize("email", ["nobody@example.test", ""])
def test_a_user_that_does_not_exist_is_refused(url: str, email: str) -> None:
    refused = run(url, "users", "password", email, "--stdin", given=LONG.encode())
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"There is no user {email!r}. `rollbook users list` shows all" in refused.stderr
    assert kept(url) is None


def test_without_a_terminal_it_says_how_to_give_the_password(url: str) -> None:
    refused = run(url, "users", "password", EMAIL, given=f"{LONG}\n{LONG}\n".encode())
    assert refused.returncode == 2
    assert "There is no terminal to ask at; give the password with --stdin." in refused.stderr
    assert kept(url) is None


class Terminal:
    """A command that runs at a terminal, and what stands on its screen."""

    def __init__(self, url: str, *arguments: str) -> None:
        self._here, there = pty.openpty()
        self.screen = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rollbook", *arguments],
            env=os.environ | {"ROLLBOOK_DATABASE": url, "TERM": "dumb"},
            stdin=there,
            stdout=there,
            stderr=there,
            start_new_session=True,
        )
        os.close(there)

    def wait_for(self, words: str) -> None:
        """Wait until words stand on the screen behind what was typed last."""
        while not re.search(words, self.screen):
            assert self._read(), self.screen

    def type(self, line: str, after: str) -> None:
        """Type a line when the screen asks for it and shows no longer what is typed."""
        self.wait_for(after)
        while termios.tcgetattr(self._here)[3] & termios.ECHO:
            assert self.process.poll() is None
        self.screen = self.screen.partition(after)[2]
        os.write(self._here, line.encode() + b"\n")

    def end(self) -> int:
        """Return the exit code, with the rest of the screen read."""
        while self._read():
            pass
        os.close(self._here)
        return self.process.wait(60)

    def _read(self) -> bool:
        assert readable(self._here, 60), self.screen
        try:
            part = os.read(self._here, 65_536)
        except OSError:
            return False  # a terminal whose programs have ended
        self.screen += part.decode()
        return bool(part)


def at_terminal(url: str, *typed: tuple[str, str]) -> tuple[int, str]:
    terminal = Terminal(url, "users", "password", EMAIL)
    shown = ""
    for after, line in typed:
        terminal.wait_for(after)
        shown += terminal.screen
        terminal.type(line, after)
    code = terminal.end()
    return code, shown + terminal.screen


def test_at_a_terminal_it_asks_twice_and_shows_nothing_of_it(url: str) -> None:
    code, screen = at_terminal(url, ("New password: ", LONG), ("Once more: ", LONG))
    assert code == 0, screen
    assert f"Set the password of {EMAIL}." in screen
    assert LONG not in screen
    assert fits(url, LONG)


def test_at_a_terminal_two_that_differ_are_asked_for_again(url: str) -> None:
    code, screen = at_terminal(
        url,
        ("New password: ", LONG),
        ("Once more: ", "something else"),
        ("New password: ", "another password"),
        ("Once more: ", "another password"),
    )
    assert code == 0, screen
    assert "do not match" in screen
    assert not any(each in screen for each in (LONG, "something else", "another password"))
    assert fits(url, "another password")


def test_at_a_terminal_a_short_one_is_refused(url: str) -> None:
    code, screen = at_terminal(url, ("New password: ", "short"), ("Once more: ", "short"))
    assert code == 1
    assert "The password has 5 characters; it must have 12 or more." in screen
    assert kept(url) is None


def test_no_key_can_take_the_name_of_those_for_passwords(url: str) -> None:
    refused = run(url, "keys", "create", "--name", "Password grant")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "The name 'Password grant' is kept for the keys of users" in refused.stderr
    assert (
        document(run(url, "keys", "create", "--name", "password grants", "--json"))["name"]
        == "password grants"
    )
