"""Proves that the examples work: the generator makes what it says, and all of it survives the round trip."""

import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from make_people import AWKWARD_NAMES, LONGEST_EMAIL, MORE_NAMES, Person, people, scripts
from support import RunningServer

EXAMPLES = Path(__file__).parents[2] / "examples"
COUNT = 5_000
SEED = 7


@pytest.fixture(scope="module")
def crowd() -> list[Person]:
    print(f"seed: {SEED}")
    return list(people(COUNT, SEED))


def test_the_same_seed_makes_the_same_people() -> None:
    assert list(people(200, 3)) == list(people(200, 3)) != list(people(200, 4))


def test_names_are_in_many_more_than_twelve_scripts(crowd: list[Person]) -> None:
    found = scripts(crowd)
    expected = {"LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "DEVANAGARI", "BENGALI", "TAMIL", "THAI"}
    expected |= {"GEORGIAN", "ARMENIAN", "CJK", "HANGUL", "ETHIOPIC", "KHMER", "TIBETAN"}
    assert expected <= found


def test_every_awkward_name_is_there(crowd: list[Person]) -> None:
    assert {*AWKWARD_NAMES, *MORE_NAMES, ""} <= {person.get("name", "") for person in crowd}


def test_emails_are_unique_and_as_long_as_can_be(crowd: list[Person]) -> None:
    emails = [person["email"].strip().lower() for person in crowd]
    assert len(set(emails)) == COUNT
    assert max(map(len, emails)) == LONGEST_EMAIL
    assert {unicodedata.category(letter) for email in emails for letter in email} >= {"Lo", "So", "Sc"}


def run(script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(EXAMPLES / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_five_thousand_of_five_thousand_come_back_exactly_as_sent(
    server: RunningServer, tmp_path: Path
) -> None:
    site, file = server.new_site(), str(tmp_path / "people.jsonl")
    made = run("make_people.py", "--count", str(COUNT), "--seed", str(SEED), "--output", file)
    assert (made.returncode, made.stderr) == (0, f"seed {SEED}\ncount {COUNT}\n")
    key = ("--url", server.url, "--client-id", site.client_id, "--client-secret", site.client_secret)
    loaded = run("load_people.py", file, *key, "--site", site.id)
    assert loaded.stdout == f"{COUNT} of {COUNT} contacts came back exactly as sent\n", loaded.stderr
    assert loaded.returncode == 0
    assert f"created {COUNT} of {COUNT} contacts" in loaded.stderr


def test_the_loader_sees_a_difference(server: RunningServer, tmp_path: Path) -> None:
    site, file = server.new_site(), tmp_path / "people.jsonl"
    # The server keeps no custom_151, and the loader has sent one.
    file.write_text(
        json.dumps({"email": "a@b.c", "name": "A", "unknown_attribute": 1, "custom_151": "x"}) + "\n"
    )
    key = ("--url", server.url, "--client-id", site.client_id, "--client-secret", site.client_secret)
    loaded = run("load_people.py", str(file), *key, "--site", site.id, "--json")
    assert loaded.returncode == 1
    assert json.loads(loaded.stdout)["same"] == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--url", "http://127.0.0.1:9"), "cannot be reached"),
        (("--client-secret", "wrong"), "Check the client id and secret"),
        (("--site", "1"), "The requested resource could not be found (/data/relationships/site)"),
    ],
)
def test_the_loader_says_what_is_wrong(
    server: RunningServer, tmp_path: Path, more: tuple[str, str], words: str
) -> None:
    site, file = server.new_site(), tmp_path / "people.jsonl"
    file.write_text('{"email":"a@b.c"}\n')
    key = ("--url", server.url, "--client-id", site.client_id, "--client-secret", site.client_secret)
    loaded = run("load_people.py", str(file), *key, "--site", site.id, *more)
    assert loaded.returncode == 1
    assert words in loaded.stderr
