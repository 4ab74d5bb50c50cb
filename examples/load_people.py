"""Loads people into a contacts server, reads all of them back, and compares byte for byte.

    python examples/load_people.py people.jsonl --client-id ID --client-secret SECRET --site 123

It needs nothing but Python: read it to see how to get a token, create contacts side by side, try again when the
server asks for patience, and walk through the pages of a list.
"""

import argparse
import http.client
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

JSON_API = "application/vnd.api+json"
PAGE_SIZE = 200
MOST_TRIES = 8
# What a contact has whether it was sent or not.
OPTIONAL = (
    "address_line_1", "address_line_2", "address_city", "address_country", "address_state", "address_zip",
    "phone_number", "business_number",
)  # fmt: skip

Person = dict[str, Any]


class LoadError(Exception):
    """Something that the person at the keyboard can mend; the message says what."""


class Client:
    """Talks to one server over one connection; each thread has its own."""

    def __init__(self, url: str, client_id: str, client_secret: str) -> None:
        at = urlsplit(url)
        connect = http.client.HTTPSConnection if at.scheme == "https" else http.client.HTTPConnection
        self._url, self._base = url, at.path.rstrip("/")
        self._connection = connect(at.hostname or "", at.port, timeout=60)
        self._credentials = {"client_id": client_id, "client_secret": client_secret}
        self._token = ""

    def call(self, method: str, path: str, document: Any = None) -> Any:
        """Send a request with a token, and return the document of the answer; raise LoadError for a refusal."""
        body = None if document is None else json.dumps(document).encode()
        for attempt in range(MOST_TRIES):
            if not self._token:
                self._token = self._new_token()
            headers = {"Authorization": f"Bearer {self._token}", "Content-Type": JSON_API}
            status, patience, answer = self._send(method, path, body, headers)
            if status == 401 and attempt == 0:
                self._token = ""  # it may have expired: get a new one, and try once more
            elif status in (429, 503):
                time.sleep(min(patience, 30))
            elif 200 <= status < 300:
                return answer
            else:
                raise LoadError(f"{method} {path} was answered {status}: {_reasons(answer)}")
        raise LoadError(f"{method} {path} found no free moment in {MOST_TRIES} tries.")

    def _new_token(self) -> str:
        body = urlencode(self._credentials | {"grant_type": "client_credentials"}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        status, _, answer = self._send("POST", "/v1/oauth/token", body, headers)
        if status != 200:
            raise LoadError(f"No token ({status}): {answer.get('error')}. Check the client id and secret.")
        token: str = answer["access_token"]
        return token

    def _send(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, float, Any]:
        try:
            self._connection.request(method, self._base + path, body, headers)
            answer = self._connection.getresponse()
            text = answer.read()
        except OSError as error:
            raise LoadError(f"{self._url} cannot be reached: {error}. Is the server running?") from None
        return answer.status, float(answer.headers.get("Retry-After", 1)), json.loads(text or b"{}")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _reasons(answer: Any) -> str:
    return "; ".join(
        f"{error['detail']} ({(error['source'] or {}).get('pointer', 'no pointer')})"
        for error in answer.get("errors", [{"detail": answer, "source": None}])
    )


class Loader:
    """Creates people with several clients side by side; keeps the id of each, and the first failure."""

    def __init__(self, people: list[Person], site: str) -> None:
        self.ids: dict[int, str] = {}
        self.failure: Exception | None = None
        self._people = people
        self._site = site
        self._next = iter(range(len(people)))
        self._lock = threading.Lock()

    def run(self, clients: list[Client]) -> None:
        """Create all people; raise LoadError for the first that is refused."""
        threads = [threading.Thread(target=self._work, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failure is not None:
            raise self.failure

    def _work(self, client: Client) -> None:
        while self.failure is None:
            with self._lock:
                number = next(self._next, None)
            if number is None:
                return
            try:
                made = client.call("POST", "/v1/contacts", document(self._people[number], self._site))
            except Exception as error:
                self.failure = error
                return
            with self._lock:
                self.ids[number] = made["data"]["id"]
                show_progress("created", len(self.ids), len(self._people))


def document(person: Person, site: str) -> Any:
    """Return the JSON:API document that creates a person."""
    return {
        "data": {
            "type": "contacts",
            "attributes": person,
            "relationships": {"site": {"data": {"type": "sites", "id": site}}},
        }
    }


def expected(person: Person) -> Person:
    """Return what the server must answer for a person, save for its stamps."""
    email = person["email"].strip().lower()
    customs = {
        name: value for name, value in person.items() if name.startswith("custom_") and value is not None
    }
    fixed = {
        "name": (person.get("name") or "")
        if (person.get("name") or "").strip()
        else email.rpartition("@")[0],
        "email": email,
        "subscribed": bool(person.get("subscribed")),
        "external_user_id": None,
    }
    return fixed | {name: person.get(name) for name in OPTIONAL} | customs


def read_all(client: Client, site: str) -> Iterator[tuple[str, Person]]:
    """Yield the id and attributes of every contact of a site, page by page."""
    path = f"/v1/contacts?filter[site_id]={site}&page[size]={PAGE_SIZE}&sort=created_at"
    while path:
        page = client.call("GET", path)
        for each in page["data"]:
            yield each["id"], each["attributes"]
        show_progress("read", page["meta"]["current_page"], page["meta"]["total_pages"], "pages")
        following = urlsplit(page["links"].get("next", ""))
        path = f"{following.path}?{following.query}" if following.path else ""


def differences(people: list[Person], ids: dict[int, str], found: dict[str, Person]) -> list[str]:
    """Return a line for each person who did not come back exactly as sent."""
    lines = []
    for number, person in enumerate(people):
        came_back = dict(found.get(ids[number], {}))
        stamps = [came_back.pop(name, "") for name in ("created_at", "updated_at")]
        if came_back != expected(person) or not all(stamps):
            lines.append(f"person {number}: sent {expected(person)!r}, came back {came_back!r}")
    return lines


def show_progress(what: str, done: int, of: int, unit: str = "contacts") -> None:
    """Show how far the work is: one line that changes on a terminal, a line now and then elsewhere."""
    if sys.stderr.isatty():
        print(f"\r{what} {done} of {of} {unit}", end="\n" if done == of else "", file=sys.stderr, flush=True)
    elif done == of or done % 1000 == 0:
        print(f"{what} {done} of {of} {unit}", file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "file", nargs="?", default="-", help="JSON Lines, one person a line; - is standard input"
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the server (default %(default)s)")
    parser.add_argument(
        "--client-id", default=os.environ.get("ROLLBOOK_CLIENT_ID"), help="or ROLLBOOK_CLIENT_ID"
    )
    parser.add_argument(
        "--client-secret", default=os.environ.get("ROLLBOOK_CLIENT_SECRET"), help="or ROLLBOOK_CLIENT_SECRET"
    )
    parser.add_argument("--site", default="123", help="the id of the site (default %(default)s)")
    parser.add_argument(
        "--workers", type=int, default=8, help="connections side by side (default %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the outcome as one JSON document")
    asked = parser.parse_args()
    if not (asked.client_id and asked.client_secret):
        parser.error("give --client-id and --client-secret, as `rollbook keys create` prints them")
    return asked


def main() -> int:
    """Load, read back, compare; return the exit code."""
    asked = arguments()
    lines = sys.stdin if asked.file == "-" else open(asked.file, encoding="utf-8")  # noqa: SIM115
    with lines:
        # Not splitlines: a name may hold what it takes for the end of a line.
        people = [json.loads(line) for line in lines.read().split("\n") if line]
    clients = [Client(asked.url, asked.client_id, asked.client_secret) for _ in range(asked.workers)]
    try:
        loader = Loader(people, asked.site)
        loader.run(clients)
        found = dict(read_all(clients[0], asked.site))
    except LoadError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    finally:
        for client in clients:
            client.close()
    wrong = differences(people, loader.ids, found)
    same = len(people) - len(wrong)
    if asked.json:
        print(json.dumps({"people": len(people), "same": same, "differences": wrong[:20]}))
    else:
        print(*wrong[:20], sep="\n", end="\n" if wrong else "")
        print(f"{same} of {len(people)} contacts came back exactly as sent")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
