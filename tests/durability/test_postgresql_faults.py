"""Proves that no fault of PostgreSQL, or on the way to it, loses or doubles what was answered."""

import contextlib
import itertools
import os
import random
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from databases import PostgreSQLServer
from fault_proxy import Fault, FaultProxy, seeded
from support import Reply, RunningServer, SiteWorld, run_rollbook, start_server, wait_until

SEED = 20261127
CREATORS = 32
TRANSACTIONS, OF_A_SOAK = 2_000, 20_000
ROUNDS = 40
# Patience, the wait for a connection, and what a busy machine adds.
PATIENCE = 40.0


@dataclass
class Create:
    """A create that was sent, once or again with its key, and the answers to it."""

    email: str
    key: str | None
    contact_id: str | None = None
    refusals: int = 0


class Creators:
    """Threads that create contacts on several servers until they are told to stop.

    Every second create has an `Idempotency-Key`, and is sent again when it is answered 503.
    """

    def __init__(self, servers: list[RunningServer], site: SiteWorld) -> None:
        self.creates: list[Create] = []
        self.problems: list[Any] = []
        self.answered = self.refused = 0
        self._site = site
        self._stop = threading.Event()
        paired = zip(range(CREATORS), itertools.cycle(servers), strict=False)
        self._threads = [threading.Thread(target=self._work, args=each) for each in paired]

    def __enter__(self) -> "Creators":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
        assert not any(thread.is_alive() for thread in self._threads)

    def wait_for_more(self, *, refused: int = 0, answered: int = 0) -> None:
        """Wait until so many more were answered 503, or 201."""
        wanted_refused, wanted_answered = self.refused + refused, self.answered + answered
        wait_until(lambda: self.refused >= wanted_refused and self.answered >= wanted_answered, PATIENCE)

    def _work(self, number: int, server: RunningServer) -> None:
        client = server.client(self._site.token)
        for count in itertools.count():
            if self._stop.is_set() or self.problems:
                return
            create = Create(f"{number}.{count}@example.test", f"{number}.{count}" if count % 2 else None)
            self.creates.append(create)
            try:
                self._create(client.post, create)
            except Exception as error:  # it is told where the test waits for it
                self.problems.append(error)

    def _create(self, post: Callable[..., Reply], create: Create) -> None:
        document = self._site.document(email=create.email, subscribed=True, custom_1=create.email)
        headers = {} if create.key is None else {"Idempotency-Key": create.key}
        while True:
            reply = post("/v1/contacts", document, headers=headers)
            if reply.status == 201:
                create.contact_id = reply.json["data"]["id"]
                self.answered += 1
                return
            if (reply.status, reply.headers.get("retry-after")) != (503, "1"):
                self.problems.append(reply)
                return
            create.refusals += 1
            self.refused += 1
            if create.key is None or self._stop.wait(0.1):
                return


class World:
    """Servers on one database behind a proxy."""

    def __init__(
        self, postgresql: PostgreSQLServer, folder: Path, *, servers: int, options: str = ""
    ) -> None:
        self.postgresql = postgresql
        self.url = postgresql.new_database(options)
        self.proxy = FaultProxy(self.url)
        self.servers = [
            start_server(folder / f"server-{number}", ROLLBOOK_DATABASE=self.proxy.url)
            for number in range(servers)
        ]
        self.site = self.servers[0].new_site()

    def __enter__(self) -> "World":
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.plan = seeded(0, rate=0)
        for server in self.servers:
            server.stop(signal.SIGKILL)
        self.proxy.close()

    def set(self, name: str, value: str | None) -> None:
        """Change a setting of the database for all connections that begin from now on, or take it back."""
        database = self.url.rpartition("/")[2]
        change = f"SET {name} = '{value}'" if value else f"RESET {name}"
        # Also of those who ask for it where the database is for reading only.
        self.order(f"SET default_transaction_read_only = off; ALTER DATABASE {database} {change}")

    def order(self, sql: str) -> None:
        """Run SQL beside the register, on the maintenance database."""
        with psycopg.connect(self.postgresql.url, autocommit=True) as connection:
            connection.execute(sql.encode())

    def assert_recovered(self) -> None:
        """Assert that the same processes are ready, and create contacts."""
        for number, server in enumerate(self.servers):
            assert server.process.poll() is None
            client = server.client(self.site.token)
            wait_until(lambda asked=client: asked.get("/readyz").status == 200, PATIENCE)
            document = self.site.document(email=f"after.{number}@example.test")
            assert client.post("/v1/contacts", document).status == 201

    def assert_whole(self, creates: list[Create]) -> None:
        """Assert that what was answered is there, nothing is there twice, and everything is complete."""
        with psycopg.connect(self.url) as connection:
            rows = connection.execute(
                b"SELECT id, email, custom, (SELECT count(*) FROM consent_events e WHERE e.contact_id = c.id),"
                b" (SELECT count(*) FROM audit_events a WHERE a.resource_id = c.id) FROM contacts c"
                b" WHERE email NOT LIKE 'after.%%'"
            ).fetchall()
        by_email = Counter(row[1] for row in rows)
        assert not {email: times for email, times in by_email.items() if times != 1}
        for _, email, custom, consent_events, audit_events in rows:
            assert (custom, consent_events, audit_events) == (f'{{"custom_1":"{email}"}}', 1, 1)
        ids = {str(row[0]): row[1] for row in rows}
        answered = {each.contact_id: each.email for each in creates if each.contact_id}
        assert answered.items() <= ids.items()
        unknown = {each.email for each in creates if not each.contact_id}
        assert set(ids.values()) - set(answered.values()) <= unknown
        check = run_rollbook("db", "check", ROLLBOOK_DATABASE=self.url)
        assert (check.returncode, check.stdout) == (0, f"{self.url} is whole.\n")


@pytest.fixture
def tiny_disk(postgresql: PostgreSQLServer) -> Iterator[Path]:
    """A tablespace `tiny` on a file system of 48 MB; its folder has room for a ballast."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount the small file system that this fills")
    folder = postgresql.folder / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m,mode=0777", "rollbook-tiny", folder], check=False
    )
    if mounted.returncode != 0:
        pytest.skip("this machine lets nobody mount the small file system that this fills")
    try:
        space = folder / "space"
        space.mkdir()
        postgresql.give(space)
        with psycopg.connect(postgresql.url, autocommit=True) as connection:
            connection.execute(f"CREATE TABLESPACE tiny LOCATION '{space}'".encode())
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


class Trouble:
    """What befalls the whole database while the creators work."""

    def __init__(self, world: World, creators: Creators) -> None:
        self.world, self.creators = world, creators

    def restart(self) -> None:
        """End the database in the middle of everything, and start it again."""
        self.world.postgresql.stop(signal.SIGQUIT)
        self.world.postgresql.start()

    def refuse(self) -> None:
        """Refuse connections until writes are answered 503."""
        self.world.proxy.refuse()
        try:
            self.creators.wait_for_more(refused=1)
        finally:
            self.world.proxy.accept()

    def read_only(self) -> None:
        """Have a database for reading only, until writes are answered 503."""
        self.world.set("default_transaction_read_only", "on")
        self.world.proxy.cut_all()
        try:
            self.creators.wait_for_more(refused=1)
        finally:
            self.world.set("default_transaction_read_only", None)

    def silence(self) -> None:
        """Have nobody hear of the database, with all connections open, until writes are answered 503."""
        self.world.proxy.speaks.clear()
        try:
            self.creators.wait_for_more(refused=1)
        finally:
            self.world.proxy.speaks.set()

    def deadlock(self) -> None:
        """Lock what the servers want, and then want what they have, until PostgreSQL breaks the circle."""
        seen = self.world.proxy.seen
        before = seen["error 40P01"]
        while seen["error 40P01"] == before:
            with contextlib.suppress(psycopg.errors.OperationalError):
                self._provoke_deadlock()

    def _provoke_deadlock(self) -> None:
        with psycopg.connect(self.world.url) as connection:
            connection.execute(b"SET deadlock_timeout = '10s'; SET lock_timeout = '1s'")
            connection.execute(b"SELECT 1 FROM contact_counts FOR UPDATE")
            waiting = (
                b"SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
                b" AND wait_event_type = 'Lock'"
            )
            with psycopg.connect(self.world.url, autocommit=True) as watcher:
                wait_until(lambda: watcher.execute(waiting).fetchall(), PATIENCE)
            connection.execute(b"UPDATE writers SET wrote_at = wrote_at")

    def serializable(self) -> None:
        """Have all transactions serializable from now on, of two servers on one site."""
        self.world.set("default_transaction_isolation", "serializable")
        self.world.proxy.cut_all()


def test_faults_of_postgresql_amid_32_creators_lose_nothing_and_double_nothing(
    postgresql: PostgreSQLServer, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    wanted = OF_A_SOAK if request.config.getoption("--soak") else TRANSACTIONS
    print(f"seed: {SEED}")
    with World(postgresql, tmp_path, servers=2) as world:
        world.proxy.plan = seeded(SEED)
        with Creators(world.servers, world.site) as creators:
            trouble = Trouble(world, creators)
            befalls = [trouble.restart, trouble.deadlock, trouble.refuse, trouble.read_only]
            if wanted > TRANSACTIONS:
                # It takes its time to be noticed.
                befalls = [*befalls, trouble.silence] * (wanted // TRANSACTIONS)
            random.Random(SEED).shuffle(befalls)
            befalls.insert(len(befalls) // 2, trouble.serializable)
            for number, befall in enumerate(befalls, 1):
                await_transactions(world, creators, wanted * number // (len(befalls) + 1))
                befall()
                creators.wait_for_more(answered=CREATORS)
            await_transactions(world, creators, wanted)
        assert not creators.problems
        world.proxy.plan = seeded(SEED, rate=0)
        world.assert_recovered()
        world.assert_whole(creators.creates)
        report(world, creators)
        lines = [line for server in world.servers for line in server.log.read_text().splitlines()]
        assert [line for line in lines if not line.startswith("{")] == []
        assert {each.value for each in Fault} <= world.proxy.seen.keys()
        assert {"error 40001", "error 40P01", "error 25006", "error 57P01"} <= world.proxy.seen.keys()
        assert creators.refused


def await_transactions(world: World, creators: Creators, number: int) -> None:
    """Wait until so many transactions began since the plan is in force; fail where a creator met a problem."""
    wait_until(lambda: creators.problems or world.proxy.transactions >= number, 900)
    assert not creators.problems


def report(world: World, creators: Creators) -> None:
    """Print what was seen."""
    for name, number in sorted(world.proxy.seen.items()):
        print(f"{number:6} {name}")
    lost = [each for each in creators.creates if each.refusals and each.key is None]
    print(f"{creators.answered:6} answered 201\n{creators.refused:6} answered 503")
    print(f"{len(lost):6} creates without a key whose only answer was 503")


def test_a_full_disk_of_postgresql_is_answered_503_and_loses_nothing(
    postgresql: PostgreSQLServer, tmp_path: Path, tiny_disk: Path
) -> None:
    ballast = tiny_disk / "ballast"
    with World(postgresql, tmp_path, servers=1, options="TABLESPACE tiny") as world:
        try:
            with Creators(world.servers, world.site) as creators:
                creators.wait_for_more(answered=50)
                with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                    while file.write(bytes(65_536)):
                        continue
                creators.wait_for_more(refused=1)
                ballast.unlink()
                creators.wait_for_more(answered=50)
            assert not creators.problems
            assert world.proxy.seen["error 53100"]
            world.assert_recovered()
            world.assert_whole(creators.creates)
        finally:
            ballast.unlink(missing_ok=True)
            for server in world.servers:
                server.stop()
            world.order(f"DROP DATABASE {world.url.rpartition('/')[2]} WITH (FORCE)")
            world.order("DROP TABLESPACE tiny")


def test_of_creates_of_one_email_on_three_servers_one_wins(
    postgresql: PostgreSQLServer, tmp_path: Path
) -> None:
    with World(postgresql, tmp_path, servers=3) as world, ThreadPoolExecutor(12) as pool:
        clients = [server.client(world.site.token) for server in world.servers for _ in range(4)]
        for number in range(ROUNDS):
            document = world.site.document(email=f"round.{number}@example.test")
            barrier = threading.Barrier(len(clients))

            def create(client: Any, sent: Any = document, start: threading.Barrier = barrier) -> Reply:
                start.wait(60)
                reply: Reply = client.post("/v1/contacts", sent)
                return reply

            replies = list(pool.map(create, clients))
            (made,) = [reply.json["data"]["id"] for reply in replies if reply.status == 201]
            for reply in replies:
                if reply.status != 201:
                    (error,) = reply.json["errors"]
                    assert (reply.status, error["meta"]) == (422, {"existing_id": made})
        assert world.site.client.get("/v1/contacts").json["meta"]["total"] == ROUNDS
