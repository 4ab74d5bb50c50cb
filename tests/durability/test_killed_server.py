"""Proves that a server killed in the middle of its work keeps all it answered, and nothing by halves."""

import http.client
import json
import random
import signal
import threading
import time
from pathlib import Path

from databases import await_end_of_sessions, beside, on_postgresql, url_of
from support import RunningServer, SiteWorld, run_rollbook, start_server

KILLS = 20
CREATORS = 32
SEED = 20261123


class Creators:
    """Threads that create contacts until the server is gone; `answered` has the e-mail of each 201 by id."""

    def __init__(self, server: RunningServer, site: SiteWorld, round_number: int) -> None:
        self.answered: dict[str, str] = {}
        self._server, self._site, self._round = server, site, round_number
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(CREATORS)]
        self.enough = threading.Event()
        self._wanted = 0

    def run_until(self, wanted: int, then: signal.Signals) -> None:
        """Let all create until so many were answered, then send the server a signal."""
        self._wanted = wanted
        for thread in self._threads:
            thread.start()
        assert self.enough.wait(60)
        self._server.process.send_signal(then)
        for thread in self._threads:
            thread.join(60)

    def _work(self, number: int) -> None:
        client = self._server.client(self._site.token)
        for count in range(10_000):
            email = f"r{self._round}.{number}.{count}@example.test"
            try:
                reply = client.post(
                    "/v1/contacts", self._site.document(email=email, subscribed=True, custom_1=email)
                )
            except (OSError, http.client.HTTPException):
                return
            assert reply.status == 201, reply
            self.answered[reply.json["data"]["id"]] = email
            if len(self.answered) >= self._wanted:
                self.enough.set()


def test_a_server_killed_twenty_times_amid_32_creators_keeps_what_it_answered(tmp_path: Path) -> None:
    print(f"seed: {SEED}")
    chance = random.Random(SEED)
    database = tmp_path / "rollbook.db"
    answered: dict[str, str] = {}
    site: SiteWorld | None = None
    for round_number in range(KILLS):
        server = start_server(database)
        if site is None:
            site = server.new_site()
        creators = Creators(server, site, round_number)
        creators.run_until(chance.randrange(20, 300), signal.SIGKILL)
        assert server.stop() == -signal.SIGKILL
        answered |= creators.answered
        assert_whole(database, site.id, answered)
    assert len(answered) > KILLS * 20
    url = url_of(database)
    check = run_rollbook("db", "check", ROLLBOOK_DATABASE=url)
    assert (check.returncode, check.stdout) == (0, f"{url} is whole.\n")
    assert_served(database, answered)


def assert_whole(database: Path, site_id: str, answered: dict[str, str]) -> None:
    """Assert that all answered contacts are there, and that each that is there is complete."""
    await_end_of_sessions(url_of(database))
    with beside(url_of(database)) as connection:
        rows = connection.rows(
            "SELECT id, email, custom, (SELECT count(*) FROM consent_events e WHERE e.contact_id = c.id),"
            " (SELECT count(*) FROM audit_events a WHERE a.resource_id = c.id)"
            " FROM contacts c WHERE site_id = ?",
            int(site_id),
        )
        noted = connection.number("SELECT contacts FROM contact_counts WHERE site_id = ?", int(site_id))
        if not on_postgresql():
            assert connection.rows("PRAGMA integrity_check") == [("ok",)]
    found = {str(row[0]): row[1] for row in rows}
    assert answered.items() <= found.items()
    assert noted == len(found)
    for _, email, custom, consent_events, audit_events in rows:
        assert (custom, consent_events, audit_events) == (f'{{"custom_1":"{email}"}}', 1, 1)


def assert_served(database: Path, answered: dict[str, str]) -> None:
    """Assert that a new server lists every answered contact, and finds some by search."""
    server = start_server(database)
    try:
        reader = server.client(_owner_token(server))
        listed: dict[str, str] = {}
        path = "/v1/contacts?page[size]=1000"
        while path:
            page = reader.get(path).json
            listed |= {each["id"]: each["attributes"]["email"] for each in page["data"]}
            path = page["links"].get("next", "").removeprefix(server.url)
        assert answered.items() <= listed.items()
        for contact_id in random.Random(SEED).sample(sorted(answered), 50):
            found = reader.get(f"/v1/contacts?filter[search]={answered[contact_id]}").json["data"]
            assert [each["id"] for each in found] == [contact_id]
    finally:
        assert server.stop() == 0


def _owner_token(server: RunningServer) -> str:
    made = run_rollbook("keys", "create", "--json", ROLLBOOK_DATABASE=server.database_url)
    key = json.loads(made.stdout)
    return server.token(key["client_id"], key["client_secret"])


def test_a_server_told_to_stop_answers_what_it_began_and_keeps_it(tmp_path: Path) -> None:
    database = tmp_path / "rollbook.db"
    server = start_server(database)
    site = server.new_site()
    creators = Creators(server, site, 0)
    began = time.monotonic()
    creators.run_until(200, signal.SIGTERM)
    assert server.stop() == 0
    assert time.monotonic() - began < 60
    assert_whole(database, site.id, creators.answered)
    wal = database.with_name("rollbook.db-wal")
    assert not wal.exists() or wal.stat().st_size == 0
