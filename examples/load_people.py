"""Loads people into a contacts server, reads all of them back, and compares byte for byte.

    python examples/load_people.py people.jsonl --client-id ID --client-secret SECRET --site 2147000101

It needs nothing but Python. Read it to see how a client gets a token and renews it, creates contacts side by side,
waits when the server asks for patience, finds out what became of a request whose answer was lost, and walks
through the pages of a list.
"""

import argparse
import http.client
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event, Lock
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

PAGE_SIZE = 200
MOST_TRIES = 6
LONGEST_PAUSE = 30.0
MOST_SHOWN = 20
# What a contact has, whether it was sent or not; custom fields come on top.
OPTIONAL = (
    "address_line_1", "address_line_2", "address_city", "address_country", "address_state", "address_zip",
    "phone_number", "business_number",
)  # fmt: skip

Person = dict[str, Any]


def main() -> int:
    """Load, read back, compare; return the exit code."""
    asked = arguments()
    session = Session(asked.url, asked.client_id, asked.client_secret)
    try:
        people = list(read_people(asked.file))
        started = time.monotonic()
        created, refused = create_all(session, people, asked.site, asked.workers)
        found, wrong = read_all(session, asked.site, set(created.values()))
        wrong += refused + differences(people, created, found)
        seconds = time.monotonic() - started
    except Trouble as trouble:
        print("\n" * sys.stderr.isatty() + f"load_people: {trouble}", file=sys.stderr)
        if asked.json:
            print(json.dumps({"error": str(trouble)}))
        return 1
    same = sum(is_same(person, found.get(created.get(at, ""))) for at, person in enumerate(people))
    if asked.json:
        counts = {"sent": len(people), "created": len(created), "refused": len(refused), "same": same}
        print(json.dumps(counts | {"seconds": round(seconds, 3), "differences": wrong}))
    else:
        more = [f"and {len(wrong) - MOST_SHOWN} more"] if len(wrong) > MOST_SHOWN else []
        for line in [*wrong[:MOST_SHOWN], *more]:
            print(line)
        print(f"{same} of {len(people)} contacts came back exactly as sent")
    return 1 if wrong else 0


class Trouble(Exception):
    """Something that ends the run, and that the person at the keyboard can mend; the message says what."""


def create_all(
    session: "Session", people: list[Person], site: str, workers: int
) -> tuple[dict[int, str], list[str]]:
    """Create people over several connections; return ids by place in the list, and a line for each refused one."""
    created: dict[int, str] = {}
    refused: dict[int, str] = {}
    waiting, lock = iter(enumerate(people)), Lock()

    def work() -> None:
        """Create those who wait, one at a time, until none is left or something stops the run."""
        connection = Connection(session)
        while not session.stop.is_set():
            with lock:
                at, person = next(waiting, (-1, {}))
            if at < 0:
                break
            outcome, refusal = create(connection, person, site)
            with lock:
                if refusal:
                    refused[at] = f"line {at + 1}: {person['email']!a} was refused: {refusal}"
                else:
                    created[at] = outcome
                show_progress("created", len(created) + len(refused), len(people), "contacts")
        connection.close()

    with ThreadPoolExecutor(workers) as pool:
        try:
            wait([pool.submit(session.or_stop, work) for _ in range(workers)])
        except KeyboardInterrupt:
            session.stop.set()  # leaving the pool waits for its threads
            raise
    for failure in session.failures:
        raise failure  # the first: the others may only say that they were stopped
    return created, [refused[at] for at in sorted(refused)]


def create(connection: "Connection", person: Person, site: str) -> tuple[str, str]:
    """Create one person; return the id of the contact, or an empty one and why it was refused."""
    document = {
        "data": {
            "type": "contacts",
            "attributes": person,
            "relationships": {"site": {"data": {"type": "sites", "id": site}}},
        }
    }
    reply = connection.call("POST", "/v1/contacts", document)
    if reply.status == 201:
        return reply.document["data"]["id"], ""
    if reply.status not in (413, 422):
        raise Trouble(f"creating {person['email']!a} was answered {reply.status}: {reply.reasons()}")
    # When an earlier answer got lost, "taken" says that the contact was made then; the comparison will tell.
    existing = reply.existing_id() if reply.uncertain else ""
    return (existing, "") if existing else ("", reply.reasons())


def read_all(session: "Session", site: str, wanted: set[str]) -> tuple[dict[str, Person], list[str]]:
    """Return the wanted contacts' attributes by id, page by page, and a line for each that came twice."""
    connection = Connection(session)
    query = f"filter[site_id]={quote(site)}&page[size]={PAGE_SIZE}&sort=created_at"
    path = f"{session.base}/v1/contacts?{query}"
    found: dict[str, Person] = {}
    twice: list[str] = []
    seen = 0
    while path:
        reply = connection.call("GET", path, absolute=True)
        if reply.status != 200:
            raise Trouble(f"reading {path} was answered {reply.status}: {reply.reasons()}")
        for contact in reply.document["data"]:
            if contact["id"] in found:
                twice.append(f"contact {contact['id']} came twice")
            if contact["id"] in wanted:
                found[contact["id"]] = contact["attributes"]
        seen += len(reply.document["data"])
        show_progress("read", seen, max(seen, reply.document["meta"]["total_count"]), "contacts")
        # The last page has no such link. Its host is the server's public one: we stay where we are.
        link = urlsplit(reply.document["links"].get("next") or "")
        path = f"{link.path}?{link.query}" if link.query else ""
    connection.close()
    return found, twice


def expected(person: Person) -> Person:
    """Return what the server keeps of a person: everything as sent, save for the rules written here."""
    email = person["email"].strip().lower()
    name = _text(person.get("name")) or ""
    return {
        "name": name if name.strip() else email.rpartition("@")[0],
        "email": email,
        "subscribed": str(person.get("subscribed")).lower() in ("true", "1"),
        "external_user_id": None,  # ignored on create
        **dict.fromkeys(OPTIONAL),
        **{
            key: _text(value)
            for key, value in person.items()
            if key not in ("name", "email", "subscribed", "external_user_id")
        },
    }


def _text(value: Any) -> Any:
    """Return a value as text if it is a whole number: so the server keeps it."""
    return str(value) if type(value) is int else value


def unequal(person: Person, stored: Person) -> list[str]:
    """Return the names of the attributes that were not stored as they should be."""
    wanted = expected(person)
    stamps = {"created_at", "updated_at"}
    names = [*wanted, *(name for name in stored if name not in wanted and name not in stamps)]
    wrong = [name for name in names if not _equal(name, wanted, stored)]
    return wrong + [name for name in sorted(stamps) if not stored.get(name)]


def _equal(name: str, wanted: Person, stored: Person) -> bool:
    """Say whether an attribute is the same in value and type; an empty custom field may be null or absent."""
    if name not in stored and not name.startswith("custom_"):
        return False
    want, have = wanted.get(name), stored.get(name)
    return type(want) is type(have) and want == have


def is_same(person: Person, stored: Person | None) -> bool:
    """Say whether a person came back exactly as sent."""
    return stored is not None and not unequal(person, stored)


def differences(people: list[Person], created: dict[int, str], found: dict[str, Person]) -> list[str]:
    """Return a line for each attribute, of each created person, that did not come back as sent."""
    lines = []
    for at, contact_id in sorted(created.items()):
        stored = found.get(contact_id)
        if stored is None:
            lines.append(f"line {at + 1}: contact {contact_id} was created, but is not in the list")
            continue
        wanted = expected(people[at])
        for name in unequal(people[at], stored):
            want, have = wanted.get(name), stored.get(name)
            lines.append(f"line {at + 1}: contact {contact_id}: {name}: expected {want!a}, found {have!a}")
    return lines


@dataclass(frozen=True)
class Reply:
    """An answer; `uncertain` says that an earlier try of the request may have been carried out too."""

    status: int
    document: Any
    retry_after: str | None
    uncertain: bool = False

    def reasons(self) -> str:
        """Return the server's own words for a refusal."""
        if not isinstance(self.document, dict):
            return "the answer is not a JSON document; is this the right --url?"
        errors = self.document.get("errors") or [{"detail": self.document.get("error")}]
        return "; ".join(
            f"{error.get('detail') or error.get('title')}{_place(error.get('source'))}" for error in errors
        )

    def existing_id(self) -> str:
        """Return the id of the contact that has the e-mail, if that is why this one was refused."""
        errors = self.document.get("errors", []) if isinstance(self.document, dict) else []
        return next((error["meta"]["existing_id"] for error in errors if error.get("meta")), "")

    def pause(self, attempt: int) -> float:
        """Return for how many seconds the server wants to be left alone; without its word, ever longer."""
        asked = 2.0**attempt / 4
        if self.retry_after is not None:
            try:
                asked = float(self.retry_after)
            except ValueError:  # HTTP allows a date as well
                asked = _seconds_until(self.retry_after, asked)
        return min(max(asked, 0.0), LONGEST_PAUSE)


def _place(source: Any) -> str:
    """Return where in the request the fault is, in brackets."""
    return f" ({source['pointer']})" if isinstance(source, dict) and "pointer" in source else ""


def _seconds_until(date: str, otherwise: float) -> float:
    """Return how far off an HTTP date is; if it is none, return `otherwise`."""
    try:
        return (parsedate_to_datetime(date).replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()
    except ValueError:
        return otherwise


@dataclass
class Session:
    """What all connections share: the server, the credentials, the token, and whether to stop."""

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    stop: Event = field(default_factory=Event)
    failures: list[Exception] = field(default_factory=list)
    _token: str = field(default="", repr=False)
    _lock: Lock = field(default_factory=Lock)

    @property
    def base(self) -> str:
        """The path under which the server is mounted, mostly empty."""
        return urlsplit(self.url).path.rstrip("/")

    def token(self, connection: "Connection", refused: str = "") -> str:
        """Return the token; get a new one if there is none yet, or if it is the one that was refused."""
        with self._lock:  # of eight workers that meet the same expired token, one renews it
            if self._token == refused:
                self._token = self._new_token(connection)
            return self._token

    def _new_token(self, connection: "Connection") -> str:
        """Get a token for the credentials."""
        asked = {"grant_type": "client_credentials", "client_id": self.client_id}
        body = urlencode(asked | {"client_secret": self.client_secret}).encode()
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        reply = connection.send("POST", f"{self.base}/v1/oauth/token", body, form)
        if reply.status == 401:
            raise Trouble(f"{reply.reasons()}. Check --client-id and --client-secret.")
        if reply.status != 200 or not isinstance(reply.document, dict):
            raise Trouble(f"asking for a token was answered {reply.status}: {reply.reasons()}")
        token: str = reply.document["access_token"]
        return token

    def or_stop(self, work: Callable[[], None]) -> None:
        """Do some work; if it fails, note why, and let all others stop as well."""
        try:
            work()
        except Exception as failure:
            self.failures.append(failure)
            self.stop.set()


class Connection:
    """One connection that is kept alive; each thread has its own."""

    def __init__(self, session: Session) -> None:
        """Prepare a connection; the first request opens it."""
        at = urlsplit(session.url)
        connect = http.client.HTTPSConnection if at.scheme == "https" else http.client.HTTPConnection
        self._http = connect(at.hostname or "", at.port, timeout=60)
        self._session = session

    def call(self, method: str, path: str, document: Any = None, *, absolute: bool = False) -> Reply:
        """Send a request with a token, and once more with a new one if the server no longer takes it."""
        body = None if document is None else json.dumps(document).encode()
        path = path if absolute else self._session.base + path
        token = self._session.token(self)
        reply = self.send(method, path, body, _headers(token))
        if reply.status == 401:
            reply = self.send(method, path, body, _headers(self._session.token(self, refused=token)))
        return reply

    def send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        """Send a request, again if the connection breaks or the server is busy, but not for ever."""
        uncertain, last = False, ""
        for attempt in range(MOST_TRIES):
            self._connect()
            try:
                reply = self._exchange(method, path, body, headers)
            except (OSError, http.client.HTTPException) as error:
                # A server may close an idle connection at any time; whether it read the request is unknown.
                self.close()
                reply, last = Reply(0, None, None), f"the connection broke ({error or type(error).__name__})"
            if reply.status not in (0, 429, 503):
                return Reply(reply.status, reply.document, reply.retry_after, uncertain)
            if reply.status:
                last = f"the last answer was {reply.status}: {reply.reasons()}"
            uncertain = uncertain or reply.status != 429
            if attempt + 1 < MOST_TRIES and self._session.stop.wait(reply.pause(attempt)):
                raise Trouble("stopped")
        raise Trouble(f"gave up {method} {path} after {MOST_TRIES} tries; {last}")

    def _connect(self) -> None:
        """Open the connection if it is not; that it cannot be opened is no reason for patience."""
        if self._http.sock is None:
            try:
                self._http.connect()
            except OSError as error:
                raise Trouble(
                    f"{self._session.url} cannot be reached ({error}). Is the server running?"
                ) from None

    def _exchange(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        """Send a request once, and return the answer whatever it says."""
        self._http.request(method, path, body, headers)
        answer = self._http.getresponse()
        content = answer.read()
        try:
            document = json.loads(content)
        except ValueError:  # a proxy's page, perhaps; whoever asked for a document will say so
            document = None
        return Reply(answer.status, document, answer.headers.get("Retry-After"))

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        self._http.close()


def _headers(token: str) -> dict[str, str]:
    """Return the headers of every call but that for the token."""
    kind = "application/vnd.api+json"
    return {"Authorization": f"Bearer {token}", "Content-Type": kind, "Accept": kind}


def read_people(file: str) -> Iterator[Person]:
    """Yield the people of a JSON Lines file."""
    try:
        # Bytes: text would end a line at other characters too, which a name may hold, and guess an encoding.
        with sys.stdin.buffer if file == "-" else open(file, "rb") as lines:
            for number, line in enumerate(lines, 1):
                yield _person(number, line)
    except OSError as error:
        raise Trouble(f"{file} cannot be read: {error.strerror}") from None


def _person(number: int, line: bytes) -> Person:
    """Return the person of a line."""
    try:
        person = json.loads(line.decode())
    except ValueError as error:
        raise Trouble(f"line {number} is not JSON in UTF-8: {error}") from None
    if not isinstance(person, dict) or not isinstance(person.get("email"), str):
        raise Trouble(f"line {number} is not an object with an email")
    return person


def show_progress(what: str, done: int, of: int, unit: str) -> None:
    """Show how far the work is: one line that changes on a terminal, a line every thousand elsewhere."""
    if sys.stderr.isatty():
        print(f"\r{what} {done} of {of} {unit}", end="\n" if done == of else "", file=sys.stderr, flush=True)
    elif done == of or done % 1000 == 0:
        print(f"{what} {done} of {of} {unit}", file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    text = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=text)
    add = parser.add_argument
    add("file", nargs="?", default="-", help="JSON Lines, one person a line; - is standard input (default)")
    add("--url", default="http://127.0.0.1:8000", help="where the server is (default %(default)s)")
    add("--client-id", default=os.environ.get("ROLLBOOK_CLIENT_ID"), help="or ROLLBOOK_CLIENT_ID")
    add("--client-secret", default=os.environ.get("ROLLBOOK_CLIENT_SECRET"), help="or ROLLBOOK_CLIENT_SECRET")
    add("--site", default="123", help="the site's id (default %(default)s, which a new database starts with)")
    add("--workers", type=int, default=8, help="connections side by side (default %(default)s)")
    add("--json", action="store_true", help="print the outcome as one JSON document")
    asked = parser.parse_args()
    if not (asked.client_id and asked.client_secret):
        parser.error("give --client-id and --client-secret, or ROLLBOOK_CLIENT_ID and ROLLBOOK_CLIENT_SECRET")
    if asked.workers < 1:
        parser.error("--workers must be at least 1")
    if not asked.url.startswith(("http://", "https://")) or not urlsplit(asked.url).hostname:
        parser.error(f"--url must look like http://127.0.0.1:8000, not {asked.url}")
    return asked


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
