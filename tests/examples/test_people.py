"""Proves the examples: the generator makes every kind of person, and all of them survive the round trip."""

import json
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread

import idna
import pytest

from load_people import unequal
from make_people import (
    ADDRESS_PARTS,
    ADDRESSES,
    EMAILS,
    EVERY_KIND,
    MOST_CUSTOM,
    NAMES,
    Person,
    email_of,
    people,
    scripts,
)
from support import RunningServer, SiteWorld

EXAMPLES = Path(__file__).parents[2] / "examples"
COUNT = 5_000
SEED = 7


@pytest.fixture(scope="module")
def crowd() -> list[Person]:
    return list(people(COUNT, SEED))


def test_the_same_seed_makes_the_same_people(crowd: list[Person]) -> None:
    assert list(people(EVERY_KIND, SEED)) == crowd[:EVERY_KIND]
    assert list(people(EVERY_KIND, SEED + 1)) != crowd[:EVERY_KIND]


def test_names_are_in_many_scripts(crowd: list[Person]) -> None:
    from_faker = {"LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "DEVANAGARI", "BENGALI", "TAMIL", "THAI"}
    from_faker |= {"GEORGIAN", "ARMENIAN", "CJK", "HANGUL"}
    from_lists = {"HIRAGANA", "KATAKANA", "ETHIOPIC", "KHMER", "LAO", "TIBETAN", "TELUGU", "SINHALA"}
    assert from_faker | from_lists <= scripts(crowd)
    assert from_faker <= scripts(crowd[EVERY_KIND:])


@pytest.mark.parametrize("seed", [0, 1, SEED])
def test_the_first_people_hold_every_awkward_kind(seed: int) -> None:
    first = list(people(EVERY_KIND, seed))
    assert {person.get("name") for person in first} >= {*NAMES.values()}
    assert {person[part] for person in first for part in ADDRESS_PARTS if part in person} >= {
        *ADDRESSES.values()
    }
    assert {person["email"] for person in first} >= {email_of(kind, at) for at, kind in enumerate(EMAILS)}
    assert {f"custom_{number}" for number in range(1, MOST_CUSTOM + 1)} <= {*first[0]}
    assert {person["subscribed"] for person in first} == {True, False}


def test_the_kinds_are_what_they_are_called(crowd: list[Person]) -> None:
    names = [person["name"] for person in crowd if "name" in person]
    assert (
        NAMES["the same, decomposed"]
        != NAMES["composed marks"]
        in {
            unicodedata.normalize("NFC", name) for name in names if not unicodedata.is_normalized("NFC", name)
        }
    )
    assert {1, 2_000} <= {len(name) for name in names}
    assert not [name for name in names if name and not name.strip()], (
        "the server would put another in its place"
    )
    text = json.dumps(crowd, ensure_ascii=False)
    assert "\\u0000" not in text
    text.encode()  # which fails on a lone surrogate


def test_emails_are_one_of_a_kind_and_as_long_as_can_be(crowd: list[Person]) -> None:
    emails = [person["email"].strip().lower() for person in crowd]
    assert len({in_ascii(email) for email in emails}) == COUNT
    longest = max(emails, key=len)
    assert (len(longest), longest.index("@")) == (254, 64)
    assert not [email for email in emails if len(email.split()) != 1]


def in_ascii(email: str) -> str:
    local, _, domain = email.rpartition("@")
    return local + "@" + (domain if domain.isascii() else idna.encode(domain, uts46=True).decode())


def run(script: str, *arguments: str, given: bytes = b"") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(EXAMPLES / script), *arguments]
    done = subprocess.run(command, input=given, capture_output=True, timeout=120, check=False)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def load(
    server: RunningServer, site: SiteWorld, *more: str, given: bytes
) -> "subprocess.CompletedProcess[str]":
    key = ("--url", server.url, "--client-id", site.client_id, "--client-secret", site.client_secret)
    return run("load_people.py", *key, "--site", site.id, *more, given=given)


def test_five_thousand_of_five_thousand_come_back_exactly_as_sent(
    server: RunningServer, tmp_path: Path
) -> None:
    file = tmp_path / "people.jsonl"
    made = run("make_people.py", "--count", str(COUNT), "--seed", str(SEED), "--output", str(file))
    assert (made.returncode, made.stderr) == (0, f"seed {SEED}\ncount {COUNT}\n")
    loaded = load(server, server.new_site(), str(file), given=b"")
    assert loaded.stdout == f"{COUNT} of {COUNT} contacts came back exactly as sent\n", loaded.stderr
    assert loaded.returncode == 0
    assert f"created {COUNT} of {COUNT} contacts" in loaded.stderr


def test_the_generator_pipes_into_the_loader_and_the_summary_is_one_document(server: RunningServer) -> None:
    made = run("make_people.py", "--count", str(EVERY_KIND), "--seed", "11")
    loaded = load(server, server.new_site(), "--json", given=made.stdout.encode())
    summary = json.loads(loaded.stdout)
    assert summary.pop("seconds") > 0
    assert summary == {
        "sent": EVERY_KIND, "created": EVERY_KIND, "refused": 0, "same": EVERY_KIND, "differences": []
    }  # fmt: skip


def test_the_loader_names_what_did_not_come_back_and_who_was_refused(server: RunningServer) -> None:
    site = server.new_site()
    given = b'{"email":"a@b.c","first_name":"Ann"}\n{"email":"A@b.c "}\n{"email":"d@e.f","address_zip":5}\n'
    loaded = load(server, site, "--workers", "1", given=given)
    contact = site.client.get("/v1/contacts?filter[email_eq]=a@b.c").json["data"][0]["id"]
    assert loaded.returncode == 1
    assert loaded.stdout.splitlines() == [
        "line 2: 'A@b.c ' was refused: Email has already been taken (/data/attributes/email)",
        f"line 1: contact {contact}: first_name: expected 'Ann', found None",
        "1 of 3 contacts came back exactly as sent",
    ]


@pytest.mark.parametrize(
    ("stored", "names"),
    [
        ({"name": "Zoe\u0308"}, ["name"]),
        ({"name": "Zo\u00eb "}, ["name"]),
        ({"subscribed": 1}, ["subscribed"]),
        ({"custom_3": "x"}, ["custom_3"]),
        ({"custom_3": None}, []),
        ({"address_zip": ""}, ["address_zip"]),
        ({"created_at": None}, ["created_at"]),
        ({}, []),
    ],
)
def test_the_comparison_is_exact(stored: Person, names: list[str]) -> None:
    sent = {"name": "Zo\u00eb", "email": " Zoe@Example.test", "subscribed": True, "external_user_id": "x"}
    parts = [*ADDRESS_PARTS, "phone_number", "business_number", "external_user_id"]
    kept = (
        sent | {"email": "zoe@example.test", "created_at": "now", "updated_at": "now"} | dict.fromkeys(parts)
    )
    assert unequal(sent, kept | stored) == names


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--url", "http://127.0.0.1:9"), "http://127.0.0.1:9 cannot be reached"),
        (("--url", "127.0.0.1:9"), "--url must look like http://"),
        (("--client-secret", "wrong"), "Invalid client credentials. Check --client-id and --client-secret."),
        (("--client-secret", ""), "give --client-id and --client-secret"),
        (("--site", "1"), "404: The requested resource could not be found (/data/relationships/site)"),
        (("--workers", "0"), "--workers must be at least 1"),
        (("no such file",), "no such file cannot be read"),
    ],
)
def test_the_loader_says_what_is_wrong(server: RunningServer, more: tuple[str, ...], words: str) -> None:
    loaded = load(server, server.new_site(), *more, given=b'{"email":"a@b.c"}\n')
    assert loaded.returncode != 0
    assert words in loaded.stderr
    assert "Traceback" not in loaded.stderr


@pytest.mark.parametrize("line", [b"{bad", b"[]", b"{}", b'{"email":1}', b'{"email":"\xff"}'])
def test_a_line_that_is_no_person_is_named(server: RunningServer, line: bytes) -> None:
    loaded = load(server, server.new_site(), given=b'{"email":"a@b.c"}\n' + line + b"\n")
    assert (loaded.returncode, loaded.stdout) == (1, "")
    assert loaded.stderr.startswith("load_people: line 2 is not")


class Moody(ThreadingHTTPServer):
    """A server that gives each call its next mood; contacts last no longer than it does."""

    def __init__(self, prefix: str, moods: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), MoodyHandler)
        self.prefix, self.moods = prefix, moods
        self.calls: list[str] = []
        self.contacts: dict[str, Person] = {}
        self.lock = Lock()


class MoodyHandler(BaseHTTPRequestHandler):
    """Answers a call, or does what its mood is: a status, `cut before` or `cut after` the work."""

    protocol_version = "HTTP/1.1"
    server: Moody

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.calls.append(self.path)
            mood = self.server.moods.pop(0) if self.server.moods else ""
            if mood.isdecimal():
                self._answer(int(mood), b"<html>no document</html>")
            elif mood == "cut before":
                self.close_connection = True
            elif self.path == f"{self.server.prefix}/v1/oauth/token":
                self._answer(200, {"access_token": "invented"})
            elif self.path == f"{self.server.prefix}/v1/contacts":
                self._create(json.loads(body)["data"]["attributes"], cut=mood == "cut after")

    def _create(self, attributes: Person, cut: bool) -> None:
        contacts = self.server.contacts
        if attributes["email"] in contacts:
            meta = {"existing_id": str([*contacts].index(attributes["email"]) + 1)}
            taken = {"detail": "Email has already been taken", "source": None, "meta": meta}
            return self._answer(422, {"errors": [taken]})
        parts = dict.fromkeys([*ADDRESS_PARTS, "phone_number", "business_number", "external_user_id"])
        stamps = {"created_at": "now", "updated_at": "now"}
        contacts[attributes["email"]] = {"subscribed": False} | attributes | parts | stamps
        self.close_connection = cut
        return None if cut else self._answer(201, {"data": {"id": str(len(contacts))}})

    def do_GET(self) -> None:
        self.server.calls.append(self.path)
        assert self.path.startswith(f"{self.server.prefix}/v1/contacts?")
        data = [
            {"id": str(at), "attributes": each} for at, each in enumerate(self.server.contacts.values(), 1)
        ]
        second = "page[number]=2" in self.path
        there = f"https://elsewhere.test{self.server.prefix}/v1/contacts?page[number]=2"
        links = {} if second else {"next": there}
        self._answer(
            200, {"data": data[1:] if second else data[:1], "links": links, "meta": {"total_count": 2}}
        )

    def _answer(self, status: int, document: object) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header(
            "Retry-After", "0" if len(self.server.calls) % 2 else "Tue, 01 Jan 2019 00:00:00 GMT"
        )
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def moody() -> Iterator[Callable[..., Moody]]:
    """Start moody servers, which end with the test."""
    started: list[Moody] = []

    def start(*moods: str, prefix: str = "") -> Moody:
        server = Moody(prefix, [*moods])
        Thread(target=server.serve_forever, args=(0.01,)).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def load_two(server: Moody) -> "subprocess.CompletedProcess[str]":
    url = f"http://127.0.0.1:{server.server_port}{server.prefix}"
    more = ("--client-id", "i", "--client-secret", "s", "--site", "1", "--workers", "1")
    given = b'{"email":"a@b.c","name":"A"}\n{"email":"d@e.f","name":"D"}\n'
    return run("load_people.py", "--url", url, *more, given=given)


@pytest.mark.parametrize(
    "moods",
    [
        ("503", "429", "", "503", "429"),  # the token is asked for first
        ("", "401"),
        ("", "cut before"),
        ("", "cut after"),
        ("", "", "cut after", "503"),
    ],
)
def test_the_loader_is_patient(moody: Callable[..., Moody], moods: tuple[str, ...]) -> None:
    server = moody(*moods)
    loaded = load_two(server)
    assert loaded.stdout == "2 of 2 contacts came back exactly as sent\n", loaded.stderr
    assert len(server.contacts) == 2


def test_the_loader_stays_on_its_server_and_below_its_prefix(moody: Callable[..., Moody]) -> None:
    server = moody(prefix="/crm")
    assert load_two(server).returncode == 0
    assert server.calls[-1] == "/crm/v1/contacts?page[number]=2"


@pytest.mark.parametrize(
    ("moods", "calls", "words"),
    [
        (["503"] * 9, 6, "gave up POST /v1/oauth/token after 6 tries; the last answer was 503"),
        (
            ["", *["429"] * 5, "cut before"],
            7,
            "gave up POST /v1/contacts after 6 tries; the connection broke",
        ),
        (["", "401", "", "401"], 4, "creating 'a@b.c' was answered 401"),
        (["", "500"], 2, "creating 'a@b.c' was answered 500: the answer is not a JSON document"),
    ],
)
def test_patience_has_an_end(moody: Callable[..., Moody], moods: list[str], calls: int, words: str) -> None:
    server = moody(*moods)
    loaded = load_two(server)
    assert (loaded.returncode, loaded.stdout, len(server.calls)) == (1, "", calls)
    assert words in loaded.stderr
