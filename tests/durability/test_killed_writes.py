"""Proves that changes, merges, erasures, batches and operations that a kill interrupts are whole or not at all."""

import hashlib
import http.client
import json
import random
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from databases import Beside, await_end_of_sessions, beside, content, on_postgresql, run_sql, url_of
from rollbook.cli import main
from rollbook.register import erasure
from rollbook.register.callers import Caller
from rollbook.register.resource import Found
from rollbook.storage.opening import open_database
from support import Client, Reply, RunningServer, SiteWorld, start_server, wait_until

SEED = 20261124
PUBLIC_URL = "https://crm.example.test"
Json = dict[str, Any]


@dataclass
class Job:
    """A write with an idempotency key of its own; `about` is what its kind looks for in the file."""

    method: str
    path: str
    body: bytes
    key: str
    about: Any
    sent: bool = False
    reply: Reply | None = None

    @property
    def is_in_flight(self) -> bool:
        """Whether the write was sent and not answered."""
        return self.sent and self.reply is None

    def send(self, client: Client) -> Reply:
        """Send the write, for the first time or again."""
        self.sent = True
        return client.request(
            self.method, self.path, body=self.body or None, headers={"Idempotency-Key": self.key}
        )


class World:
    """One database whose server is killed again and again, and a site in it."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.chance = folder, chance
        self.database = folder / "rollbook.db"
        self.server: RunningServer = start_server(self.database, ROLLBOOK_PUBLIC_URL=PUBLIC_URL)
        self.site: SiteWorld = self.server.new_site()

    def __enter__(self) -> "World":
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop(signal.SIGKILL)

    @property
    def client(self) -> Client:
        """A client of the server that runs now."""
        return self.server.client(self.site.token)

    def ask(self, method: str, path: str, document: Any, key: str | None = None) -> Any:
        """Ask the server that runs now, and return the document that it answers."""
        headers = {} if key is None else {"Idempotency-Key": key}
        reply = self.client.request(method, path, document, headers=headers)
        assert reply.status in (200, 201), reply
        return reply.json

    def contacts(self, given: Sequence[Json]) -> list[str]:
        """Create contacts with these attributes; return their ids in order."""
        made: list[str] = []
        for start in range(0, len(given), 1_000):
            items = [self.site.document(**each)["data"] for each in given[start : start + 1_000]]
            answer = self.ask("POST", "/v1/contacts/batch", {"data": items})
            assert answer["meta"]["created"] == len(items)
            made += [each["id"] for each in answer["meta"]["results"]]
        return made

    def operate(self, operations: Sequence[Json]) -> list[Json]:
        """Perform operations, a hundred in each request; return their results."""
        results: list[Json] = []
        for start in range(0, len(operations), 100):
            document = {"atomic:operations": operations[start : start + 100]}
            results += self.ask("POST", "/v1/operations", document)["atomic:results"]
        return results

    def tag(self, name: str) -> str:
        """Create a tag; return its id."""
        related = {"site": {"data": {"type": "sites", "id": self.site.id}}}
        data = {"type": "contact_tags", "attributes": {"name": name}, "relationships": related}
        tag_id: str = self.ask("POST", "/v1/contact_tags", {"data": data})["data"]["id"]
        return tag_id

    def leave(self, name: str) -> Path:
        """Return the database as the kill left it, for to look at.

        Of files it is a copy, for the next server shall recover the original.
        """
        if on_postgresql():
            await_end_of_sessions(url_of(self.database))
            return self.database
        folder = self.folder / name
        folder.mkdir()
        for suffix in ("", "-wal"):
            file = self.database.with_name(self.database.name + suffix)
            if file.exists():
                shutil.copy(file, folder)
        return folder / self.database.name


def note(contact_id: str, body: str) -> Json:
    """Return the operation that adds a note about a contact."""
    about = {"contact": {"data": {"type": "contacts", "id": contact_id}}}
    return {
        "op": "add",
        "data": {"type": "contact_notes", "attributes": {"body": body}, "relationships": about},
    }


def tagged(contact_id: str, *tag_ids: str) -> Json:
    """Return the operation that adds tags to a contact."""
    data = [{"type": "contact_tags", "id": each} for each in tag_ids]
    return {"op": "add", "ref": {"type": "contacts", "id": contact_id, "relationship": "tags"}, "data": data}


def hashed(key: str) -> str:
    """Return what the database has of an idempotency key."""
    return hashlib.sha256(key.encode()).hexdigest()


KEPT = "SELECT count(*) FROM kept_answers WHERE idempotency_key = ?"
NOTES = "SELECT body FROM contact_notes WHERE contact_id = ? ORDER BY body"
EVENTS = "SELECT event FROM consent_events WHERE contact_id = ? ORDER BY occurred_at, id"
TAGGINGS = "SELECT tag_id FROM contact_taggings WHERE contact_id = ? ORDER BY tag_id"
AUDITED = "SELECT count(*) FROM audit_events WHERE resource_id = ? AND action = ?"
UNSCRUBBED = "SELECT id FROM contact_tombstones WHERE scrubbed = 0"
EMAILS = "SELECT email FROM contacts WHERE id = ?"


class Kind:
    """A kind of write: how its jobs are made, and whether one is done, which must never be in part."""

    kills = 4
    threads = 1
    # Every second kill comes after some number of answers from these, and some of these seconds later; the
    # others come when the job of such a number has just been committed.
    answers = (1, 10)
    seconds = 0.0

    def prepare(self, world: World, turn: int) -> list[Job]:
        """Make what the jobs of one turn need, and the jobs."""
        raise NotImplementedError

    def is_done(self, file: Beside, job: Job) -> bool:
        """Say whether a file has all of a job; fail where it has a part."""
        raise NotImplementedError

    def await_moment(self, world: World, jobs: list[Job], turn: int) -> None:
        """Return when the server shall be killed: at any moment, or right after some job was committed."""
        nth, later = (
            world.chance.randint(*self.answers),
            world.chance.uniform(self.seconds / 10, self.seconds),
        )
        if turn % 2:
            wait_until(lambda: sum(job.reply is not None for job in jobs) >= nth, 180)
            time.sleep(later)
            return
        end = time.monotonic() + 180
        with beside(url_of(world.database)) as watcher:
            while not watcher.number(KEPT, hashed(jobs[nth].key)):
                assert time.monotonic() < end
                time.sleep(0.0005)

    def after_kill(self, left: Path, jobs: list[Job]) -> None:
        """Look at the files that a kill left, before anybody opens them."""

    def after_start(self, world: World, jobs: list[Job]) -> None:
        """Look at what the next server found, before anybody asks it for anything."""

    def at_end(self) -> None:
        """Look back at all kills."""


def whole(found: Any, before: Any, after: Any) -> bool:
    """Say whether what was found is what is there after a write; fail where it is neither that nor before."""
    assert found in (before, after), f"{found} is neither {before} nor {after}"
    return bool(found == after)


class Patches(Kind):
    """Changes of attributes, consent, e-mail and tags in one PATCH."""

    threads = 16
    answers = (5, 70)

    def prepare(self, world: World, turn: int) -> list[Job]:
        one, two = world.tag(f"One {turn}"), world.tag(f"Two {turn}")
        given: list[Json] = [
            {
                "email": f"old{turn}.{at}@example.test",
                "name": "Old",
                "custom_1": "old",
                "subscribed": at % 2 == 0,
            }
            for at in range(160)
        ]
        contacts = world.contacts(given)
        world.operate([tagged(each, one) for each in contacts])
        jobs = []
        for at, contact_id in enumerate(contacts):
            new = {"email": f"new{turn}.{at}@example.test", "name": "New", "custom_1": "new"}
            attributes = new | {"subscribed": at % 2 == 1}
            tags = {"tags": {"data": [{"type": "contact_tags", "id": two}]}}
            body = {"data": {"type": "contacts", "attributes": attributes, "relationships": tags}}
            about = (contact_id, given[at], new, one, two)
            path = f"/v1/contacts/{contact_id}"
            jobs.append(Job("PATCH", path, json.dumps(body).encode(), f"patch-{turn}-{at}", about))
        return jobs

    def is_done(self, file: Beside, job: Job) -> bool:
        contact_id, old, new, one, two = job.about
        (row,) = file.rows(
            "SELECT name, email, custom, tag_ids, subscription FROM contacts WHERE id = ?", int(contact_id)
        )
        found = (
            *row,
            file.column(TAGGINGS, contact_id),
            file.column(EVENTS, contact_id),
            file.number(AUDITED, contact_id, "contacts.update"),
            file.number(KEPT, hashed(job.key)),
        )
        # One update before: that of its first tag.
        was, events = int(old["subscribed"]), ["subscribed"] * int(old["subscribed"])
        before = ("Old", old["email"], '{"custom_1":"old"}', one, was, [int(one)], events, 1, 0)
        events = ["subscribed", "unsubscribed"] if was else ["subscribed"]
        after = ("New", new["email"], '{"custom_1":"new"}', two, was + 1, [int(two)], events, 2, 1)
        return whole(found, before, after)


class Merges(Kind):
    """Merges of two contacts, each with tags, notes and a ledger."""

    threads = 8
    answers = (5, 25)

    def prepare(self, world: World, turn: int) -> list[Job]:
        one, two = world.tag(f"One {turn}"), world.tag(f"Two {turn}")
        given: list[Json] = []
        for at in range(50):
            given.append({"email": f"kept{turn}.{at}@example.test", "name": "Kept"})
            given.append(
                {"email": f"gone{turn}.{at}@example.test", "phone_number": "555", "subscribed": True}
            )
        contacts = world.contacts(given)
        pairs = list(zip(contacts[::2], contacts[1::2], strict=True))
        operations = []
        for kept, gone in pairs:
            operations += [note(kept, "Of the one."), note(gone, "Of the other.")]
            operations += [tagged(kept, one), tagged(gone, two)]
        world.operate(operations)
        jobs = []
        for at, (kept, gone) in enumerate(pairs):
            body = json.dumps({"data": {"type": "contacts", "id": gone}}).encode()
            about = (kept, gone, one, two)
            jobs.append(Job("POST", f"/v1/contacts/{kept}/merge", body, f"merge-{turn}-{at}", about))
        return jobs

    def is_done(self, file: Beside, job: Job) -> bool:
        kept, gone, one, two = job.about
        found = [
            file.rows(
                "SELECT name, phone_number, subscription, tag_ids FROM contacts WHERE id = ?", int(each)
            )
            + [file.column(sql, each) for sql in (NOTES, EVENTS, TAGGINGS)]
            + [file.number(AUDITED, each, "contacts.merge")]
            for each in (kept, gone)
        ]
        found.append(file.column("SELECT survivor_id FROM contact_tombstones WHERE id = ?", gone))
        found.append([file.number(KEPT, hashed(job.key))])
        name = file.column("SELECT name FROM contacts WHERE id = ?", gone)
        before = [
            [("Kept", None, 0, one), ["Of the one."], [], [int(one)], 0],
            [(*name, "555", 1, two), ["Of the other."], ["subscribed"], [int(two)], 0],
            [],
            [0],
        ]
        both = sorted((int(one), int(two)))
        after = [
            [("Kept", "555", 1, f"{one},{two}"), ["Of the one.", "Of the other."], ["subscribed"], both, 1],
            [[], [], [], 1],
            [int(kept)],
            [1],
        ]
        return whole(found, before, after)


class Erasures(Kind):
    """Erasures, which have the database scrubbed after their commit."""

    kills = 5
    threads = 3
    answers = (0, 4)
    seconds = 0.04

    def __init__(self) -> None:
        self.interrupted = 0

    def prepare(self, world: World, turn: int) -> list[Job]:
        tag = world.tag(f"Tag {turn}")
        filler = [
            {"email": f"stays{turn}.{at}@example.test", "address_line_1": "x" * 200} for at in range(500)
        ]
        world.contacts(filler)
        jobs, operations = [], []
        for at in range(14):
            mark = f"zq{world.chance.getrandbits(64):016x}"
            signs = "".join(chr(world.chance.randrange(0x4E00, 0x9FA6)) for _ in range(12))
            document = world.site.document(
                email=f"{mark}@example.test", name=f"{mark} {signs}", custom_7=mark, subscribed=True
            )
            document["meta"] = {"consent": {"wording": mark, "source": mark}}
            made = world.ask("POST", "/v1/contacts", document, f"create-{turn}-{at}")["data"]["id"]
            operations += [note(made, f"About {mark} {signs}"), tagged(made, tag)]
            about = (made, f"create-{turn}-{at}", [mark.encode(), signs.encode(), signs[4:7].encode()])
            jobs.append(Job("POST", f"/v1/contacts/{made}/erase", b"", f"erase-{turn}-{at}", about))
        world.operate(operations)
        return jobs

    def is_done(self, file: Beside, job: Job) -> bool:
        contact_id, create_key, marks = job.about
        answers = "SELECT count(*) FROM kept_answers WHERE idempotency_key = ? AND body LIKE ?"
        found = (
            file.column(EMAILS, contact_id),
            *(len(file.column(sql, contact_id)) for sql in (NOTES, EVENTS, TAGGINGS)),
            file.number(answers, hashed(create_key), f"%{marks[0].decode()}%"),
            file.number("SELECT count(*) FROM contact_tombstones WHERE id = ?", contact_id),
            file.number(AUDITED, contact_id, "contacts.erase"),
            file.number(KEPT, hashed(job.key)),
        )
        before = ([f"{marks[0].decode()}@example.test"], 1, 1, 1, 1, 0, 0, 0)
        return whole(found, before, ([], 0, 0, 0, 0, 1, 1, 1))

    def after_kill(self, left: Path, jobs: list[Job]) -> None:
        # Of a contact that is gone while nobody has noted that its bytes are, the erasure was interrupted.
        kept = content(url_of(left))
        unfinished = run_sql(url_of(left), UNSCRUBBED)
        for job in self._gone(left, jobs):
            if job.reply is not None:
                assert not any(mark in kept for mark in job.about[2])
                assert (int(job.about[0]),) not in unfinished
            else:
                self.interrupted += (int(job.about[0]),) in unfinished

    def after_start(self, world: World, jobs: list[Job]) -> None:
        kept = content(url_of(world.database))
        for job in self._gone(world.database, jobs):
            assert not any(mark in kept for mark in job.about[2]), f"{job.about[2]} is left in the database"
        assert run_sql(url_of(world.database), UNSCRUBBED) == []

    def at_end(self) -> None:
        assert self.interrupted, "no kill came between an erasure's commit and the scrubbing of the database"

    def _gone(self, database: Path, jobs: list[Job]) -> list[Job]:
        with beside(url_of(database)) as connection:
            return [job for job in jobs if not connection.column(EMAILS, int(job.about[0]))]


class Batches(Kind):
    """Batches of a thousand, half of them new and half of them changes.

    Of fewer on PostgreSQL: a change asks it several questions, each a change of processes, and a machine that
    is busy with others takes its time for these.
    """

    threads = 2
    answers = (0, 0)
    seconds = 0.2

    def prepare(self, world: World, turn: int) -> list[Job]:
        jobs = []
        batches = range(3)
        half = self.half()
        old = [f"old{turn}.{at}.{each}@example.test" for at in batches for each in range(half)]
        world.contacts([{"email": email, "name": "Old"} for email in old])
        for at in batches:
            emails = [
                f"{which}{turn}.{at}.{each}@example.test" for each in range(half) for which in ("new", "old")
            ]
            items = [
                world.site.document(email=each, name="Batch", subscribed=True)["data"] for each in emails
            ]
            body = json.dumps({"data": items, "meta": {"on_duplicate": "update"}}).encode()
            jobs.append(Job("POST", "/v1/contacts/batch", body, f"batch-{turn}-{at}", f"{turn}.{at}."))
        return jobs

    def is_done(self, file: Beside, job: Job) -> bool:
        found = []
        for half in ("new", "old"):
            like = f"{half}{job.about}%"
            found += [
                file.number("SELECT count(*) FROM contacts WHERE name = 'Batch' AND email LIKE ?", like),
                file.number(
                    "SELECT count(*) FROM contacts c JOIN consent_events e ON e.contact_id = c.id"
                    " AND e.site_id = c.site_id WHERE c.email LIKE ?",
                    like,
                ),
            ]
        updated = (
            "SELECT count(*) FROM contacts c JOIN audit_events a ON a.resource_id = c.id"
            " AND a.site_id = c.site_id WHERE a.action = 'contacts.update' AND c.email LIKE ?"
        )
        found += [file.number(updated, f"old{job.about}%"), file.number(KEPT, hashed(job.key))]
        return whole(found, [0] * 6, [self.half()] * 5 + [1])

    @staticmethod
    def half() -> int:
        """Return how many of a batch are new."""
        return 75 if on_postgresql() else 500


class Operations(Kind):
    """A hundred atomic operations on contacts, notes, tags and taggings."""

    threads = 4
    answers = (0, 8)
    seconds = 0.05

    def prepare(self, world: World, turn: int) -> list[Job]:
        return [self._job(world.site, f"{turn}.{at}.") for at in range(24)]

    def _job(self, site: SiteWorld, prefix: str) -> Job:
        operations: list[Json] = []
        for at in range(20):
            person: Json = {"type": "contacts", "lid": f"person{at}"}
            label: Json = {"type": "contact_tags", "lid": f"label{at}"}
            contact = site.document(email=f"{prefix}{at}@example.test", name="Old")["data"]
            of_site = {"site": {"data": {"type": "sites", "id": site.id}}}
            change = {"type": "contacts", "attributes": {"name": "New", "subscribed": True}}
            operations += [
                {"op": "add", "data": contact | {"lid": f"person{at}"}},
                {
                    "op": "add",
                    "data": label | {"attributes": {"name": f"{prefix}{at}"}, "relationships": of_site},
                },
                {
                    "op": "add",
                    "data": {
                        "type": "contact_notes",
                        "attributes": {"body": prefix},
                        "relationships": {"contact": {"data": person}},
                    },
                },
                {"op": "add", "ref": person | {"relationship": "tags"}, "data": [label]},
                {"op": "update", "ref": person, "data": change},
            ]
        body = json.dumps({"atomic:operations": operations}).encode()
        return Job("POST", "/v1/operations", body, f"operations-{prefix}", prefix)

    def is_done(self, file: Beside, job: Job) -> bool:
        like = f"{job.about}%"
        of_contacts = "contacts c ON c.id = x.contact_id AND c.site_id = x.site_id WHERE c.email LIKE ?"
        found = [
            file.number("SELECT count(*) FROM contacts WHERE name = 'New' AND email LIKE ?", like),
            file.number("SELECT count(*) FROM contacts WHERE email LIKE ?", like),
            file.number("SELECT count(*) FROM contact_tags WHERE name LIKE ?", like),
            file.number("SELECT count(*) FROM contact_notes WHERE body = ?", job.about),
            file.number(f"SELECT count(*) FROM contact_taggings x JOIN {of_contacts}", like),
            file.number(f"SELECT count(*) FROM consent_events x JOIN {of_contacts}", like),
            file.number(KEPT, hashed(job.key)),
        ]
        return whole(found, [0] * 7, [20] * 6 + [1])


def send_until_killed(world: World, kind: Kind, jobs: list[Job], turn: int) -> None:
    """Send jobs from several threads, in order, and kill the server at the moment that the kind chooses."""
    waiting = iter(jobs)
    lock = threading.Lock()

    def work() -> None:
        client = world.client
        while True:
            with lock:
                job = next(waiting, None)
            if job is None:
                return
            try:
                reply = job.send(client)
            except (OSError, http.client.HTTPException):
                return
            # On a machine that is busy with others a job may wait too long; then it was not answered.
            if reply.status != 503:
                job.reply = reply

    threads = [threading.Thread(target=work) for _ in range(kind.threads)]
    for thread in threads:
        thread.start()
    kind.await_moment(world, jobs, turn)
    world.server.process.send_signal(signal.SIGKILL)
    for thread in threads:
        thread.join(60)
    assert world.server.stop() == -signal.SIGKILL


def assert_whole(database: Path, kind: Kind, jobs: list[Job]) -> set[str]:
    """Assert that a file has each job whole or not at all, every one that was answered, and true ledgers.

    Returns the keys of the jobs that it has.
    """
    with beside(url_of(database)) as file:
        done = {job.key for job in jobs if kind.is_done(file, job)}
        assert_ledger_agrees(file)
    assert {job.key for job in jobs if job.reply is not None} <= done <= {job.key for job in jobs if job.sent}
    return done


def assert_ledger_agrees(file: Beside) -> None:
    """Assert that `subscribed` of every contact is what the last event of its ledger says."""
    last = (
        "SELECT CASE event WHEN 'subscribed' THEN 1 ELSE 2 END FROM consent_events e"
        " WHERE e.site_id = c.site_id AND e.contact_id = c.id ORDER BY occurred_at DESC, e.id DESC LIMIT 1"
    )
    differ = file.rows(f"SELECT id, subscription FROM contacts c WHERE subscription != coalesce(({last}), 0)")
    assert differ == []
    orphans = "SELECT count(*) FROM consent_events WHERE contact_id NOT IN (SELECT id FROM contacts)"
    assert file.number(orphans) == 0


def assert_served_ledger_agrees(world: World) -> None:
    """Assert the same of what the server answers, for the contacts of a page."""
    client = world.client
    for each in client.get("/v1/contacts?page[size]=20").json["data"]:
        events = client.get(f"/v1/contacts/{each['id']}/consent_events").json["data"]
        last = [event["attributes"]["event"] for event in events][-1:]
        assert each["attributes"]["subscribed"] == (last == ["subscribed"])


def lasting(reply: Reply) -> tuple[int, bytes]:
    """Return what an answer and its repetitions have in common."""
    return reply.status, reply.body


def assert_retried(client: Client, jobs: list[Job], done: set[str]) -> None:
    """Assert that jobs that were sent get their first answer, and those that were not done are done now.

    Of those that were answered, the last ones speak for all.
    """
    answered = [job for job in jobs if job.reply is not None]
    for job in [*answered[-20:], *(job for job in jobs if job.sent and job.reply is None)]:
        again = job.send(client)
        replayed = "idempotency-replayed" in again.headers
        assert again.status == 200, again
        assert replayed == (job.key in done), f"{job.key}: {again}"
        if job.reply is not None:
            assert lasting(again) == lasting(job.reply)
        if not replayed:
            assert lasting(job.send(client)) == lasting(again)
        job.reply = again


def assert_checked(database: Path) -> None:
    """Assert that `rollbook db check` finds nothing wrong; without a process of its own, which takes longest."""
    url = url_of(database)
    done = CliRunner().invoke(main, ["db", "check"], env={"ROLLBOOK_DATABASE": url})
    assert (done.exit_code, done.output) == (0, f"{url} is whole.\n")


@pytest.mark.parametrize(
    "kind", [Patches, Merges, Erasures, Batches, Operations], ids=lambda kind: str(kind.__name__).lower()
)
def test_what_a_kill_interrupts_is_whole_or_not_at_all_and_can_be_sent_again(
    tmp_path: Path, kind: type[Kind]
) -> None:
    print(f"seed: {SEED}")
    work = kind()
    every: list[Job] = []
    in_flight = {True: 0, False: 0}
    interrupted = turn = 0
    with World(tmp_path, random.Random(f"{SEED} {kind.__name__}")) as world:
        # On a machine that is busy with others, all may be done before a kill comes: that one does not count.
        while interrupted < work.kills:
            assert turn < 2 * work.kills, "the kills interrupted nothing"
            jobs = work.prepare(world, turn)
            send_until_killed(world, work, jobs, turn)
            interrupted += any(job.is_in_flight for job in jobs)
            left = world.leave(f"left{turn}")
            work.after_kill(left, jobs)
            done = assert_whole(left, work, jobs)
            assert_checked(left)
            for job in jobs:
                in_flight[job.key in done] += job.is_in_flight
            world.server = start_server(world.database, ROLLBOOK_PUBLIC_URL=PUBLIC_URL)
            work.after_start(world, jobs)
            assert_retried(world.client, jobs, done)
            assert_served_ledger_agrees(world)
            every += [job for job in jobs if job.reply is not None]
            turn += 1
        print(f"{work.kills} kills; in flight were {in_flight[True]} done and {in_flight[False]} not done")
        work.at_end()
        assert world.server.stop() == 0
        assert assert_whole(world.database, work, every) == {job.key for job in every}
        assert_checked(world.database)


def test_the_end_of_one_erasure_is_not_taken_for_the_end_of_another(tmp_path: Path) -> None:
    server = start_server(tmp_path / "rollbook.db")
    site = server.new_site()
    made = [site.create(email=f"zqwx{at}@example.test").json["data"]["id"] for at in range(2)]
    assert server.stop() == 0
    one, other = (
        Found(Caller(1, 1, frozenset(), frozenset(), 0.0), int(site.id), int(each)) for each in made
    )
    database = open_database(server.database_url)
    try:
        with database.transaction() as transaction:
            assert erasure.erase_many(transaction, [one]) == [None]
        with database.snapshot() as snapshot:
            unfinished = erasure.unfinished(snapshot)
        database.scrub_now()
        with database.transaction() as transaction:
            assert erasure.erase_many(transaction, [other]) == [None]
        with database.transaction() as transaction:
            erasure.finish_many(transaction, [unfinished])
    finally:
        database.close()
    url = server.database_url
    assert b"zqwx0" not in content(url)
    assert on_postgresql() or b"zqwx1" in content(url)
    assert run_sql(url, UNSCRUBBED) == [(int(made[1]),)]
    server = start_server(tmp_path / "rollbook.db")
    try:
        assert b"zqwx1" not in content(url)
        assert run_sql(url, UNSCRUBBED) == []
    finally:
        assert server.stop() == 0
