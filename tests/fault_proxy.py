"""A proxy before PostgreSQL that sees transactions go by, and breaks some of them as a seed says.

It speaks enough of the protocol for that (https://www.postgresql.org/docs/current/protocol.html): messages
both ways, with the SQL of Query, Parse and Bind, the end of each command, and the codes of errors.
"""

import contextlib
import enum
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import psycopg

RATE = 0.2
SLOWEST_SECONDS = 0.05
# Requests that come before the first message of a session; the proxy speaks neither TLS nor GSSAPI.
ENCRYPTION_REQUESTS = (80_877_103, 80_877_104)


class Fault(enum.Enum):
    """What happens to a transaction."""

    LOST_BEFORE_BEGIN = "connection lost before BEGIN"
    LOST_IN_THE_MIDDLE = "connection lost in the middle"
    LOST_BEFORE_COMMIT = "connection lost before COMMIT came to the database"
    LOST_AFTER_COMMIT = "connection lost after COMMIT, before its answer"
    COMMIT_HELD = "connection lost at COMMIT, which comes to the database later"
    BACKEND_KILLED = "backend terminated"
    SLOW = "slow network"


class Planned:
    """What happens to a transaction, after how many of its statements, and how slow the network is."""

    def __init__(self, fault: Fault | None, after: int = 0, seconds: float = 0.0) -> None:
        self.fault = fault
        self.after = after
        self.seconds = seconds


Plan = Callable[[int], Planned]
NOTHING = Planned(None)


def seeded(seed: int, rate: float = RATE) -> Plan:
    """Return the plan of a seed: what happens to the transaction with a number."""

    def plan(number: int) -> Planned:
        chance = random.Random(f"{seed}:{number}")
        if chance.random() >= rate:
            return NOTHING
        fault = chance.choice(list(Fault))
        return Planned(fault, chance.randint(1, 4), chance.uniform(0.0, SLOWEST_SECONDS))

    return plan


class FaultProxy:
    """Listens on a port of its own for the PostgreSQL at a URL; `plan` says what happens to transactions.

    `seen` counts transactions, commits, faults by name and errors by code. Both ends of a link are cut at
    once, but for a COMMIT that is held: it goes on to the database when `release` is set, or its time is up.
    Nothing is forwarded, and nothing closed, while `speaks` is not set.
    """

    def __init__(self, url: str) -> None:
        self.plan: Plan = lambda _number: NOTHING
        self.seen: Counter[str] = Counter()
        self.release = threading.Event()
        self.speaks = threading.Event()
        self.speaks.set()
        self.database_url = url
        parts = psycopg.conninfo.conninfo_to_dict(url)
        self._to = (str(parts["host"]), int(str(parts["port"])))
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._port = 0
        self._listener: socket.socket | None = None
        self.accept()
        self.url = url.replace(f":{self._to[1]}/", f":{self._port}/")

    @property
    def transactions(self) -> int:
        """How many transactions began."""
        return self.seen["transactions"]

    def accept(self) -> None:
        """Take connections, the first time or again."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        listener.listen(64)
        with self._lock:
            self._listener = listener
        threading.Thread(target=self._take, args=(listener,), daemon=True).start()

    def refuse(self) -> None:
        """Cut all connections, and have new ones refused."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut_all()

    def cut_all(self) -> None:
        """Cut all connections."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.cut()

    def close(self) -> None:
        """Cut all, and end."""
        self.speaks.set()
        self.refuse()

    def count(self, name: str, number: int = 1) -> int:
        """Count something; return how many there are now."""
        with self._lock:
            self.seen[name] += number
            return self.seen[name]

    def _take(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                database = socket.create_connection(self._to, timeout=5)
            except OSError:
                client.close()
                continue
            database.settimeout(None)
            link = _Link(self, client, database)
            with self._lock:
                is_taken = self._listener is listener
                if is_taken:
                    self._links.add(link)
            link.start()
            if not is_taken:
                # Accepted while all were cut.
                link.cut()

    def forget(self, link: "_Link") -> None:
        """Note that a link is cut."""
        with self._lock:
            self._links.discard(link)


class _Link:
    """One connection, with what is known of the transaction that runs on it."""

    def __init__(self, proxy: FaultProxy, client: socket.socket, database: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._database = database
        self._is_cut = threading.Event()
        self._statements: dict[bytes, bytes] = {}
        self._backend = 0
        self._planned = NOTHING
        self._statements_seen = 0
        self._hides_commit = False
        self._client_has_gone = False
        for end in (client, database):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        """Forward both ways until the end."""
        for work in (self._forward_requests, self._forward_answers):
            threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def cut(self) -> None:
        """Cut the connection at both ends."""
        self._is_cut.set()
        self._proxy.forget(self)
        for end in (self._client, self._database):
            # It wakes the thread that reads from it, which closes it.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _run(self, work: Callable[[], None]) -> None:
        try:
            with contextlib.suppress(OSError):
                work()
        finally:
            self.cut()
            (self._client if work == self._forward_requests else self._database).close()

    def _forward_requests(self) -> None:
        if not self._forward_greeting():
            return
        for messages in _bursts(self._client):
            burst = bytearray()
            for kind, body in messages:
                if self._breaks_before(kind, body):
                    self._database.sendall(burst)
                    return
                burst += _message(kind, body)
            if self._client_has_gone:
                self._proxy.release.wait(self._planned.seconds)
                self._database.sendall(burst)
                # The other thread ends with the answer to it.
                self._is_cut.wait(60)
                return
            self._proxy.speaks.wait()
            if self._planned.fault is Fault.SLOW:
                self._is_cut.wait(self._planned.seconds)
            self._database.sendall(burst)

    def _forward_greeting(self) -> bool:
        while True:
            head = _exactly(self._client, 8)
            if not head:
                return False
            if int.from_bytes(head[4:]) not in ENCRYPTION_REQUESTS:
                break
            self._client.sendall(b"N")
        self._proxy.speaks.wait()
        self._database.sendall(head + _exactly(self._client, int.from_bytes(head[:4]) - 8))
        return True

    def _breaks_before(self, kind: bytes, body: bytes) -> bool:
        """Say whether the connection is lost before this message is forwarded."""
        sql = self._begun_statement(kind, body)
        if sql is None:
            return False
        if sql.startswith(b"BEGIN"):
            self._planned = self._proxy.plan(self._proxy.count("transactions"))
            self._statements_seen = 0
        self._statements_seen += 1
        fault, is_end = self._planned.fault, sql == b"COMMIT"
        is_due = is_end or self._statements_seen > self._planned.after
        breaks = (
            fault is Fault.LOST_BEFORE_BEGIN
            or (fault is Fault.LOST_IN_THE_MIDDLE and is_due)
            or (fault is Fault.LOST_BEFORE_COMMIT and is_end)
        )
        if fault is Fault.BACKEND_KILLED and is_due:
            self._terminate()
        if fault is Fault.LOST_AFTER_COMMIT and is_end:
            self._hides_commit = True
        if fault is Fault.COMMIT_HELD and is_end:
            self._client_has_gone = True
            self._client.shutdown(socket.SHUT_RDWR)
            self._proxy.count(fault.value)
            return False
        if fault is not None and (breaks or is_end or (fault is Fault.BACKEND_KILLED and is_due)):
            # Slow ones are counted at their end; all others where they happen.
            self._proxy.count(fault.value)
            self._planned = NOTHING
        return breaks

    def _begun_statement(self, kind: bytes, body: bytes) -> bytes | None:
        """Return the SQL of a statement that a message has executed; None for other messages."""
        if kind == b"Q":
            return body.rstrip(b"\0")
        if kind == b"P":
            name, sql, _ = body.split(b"\0", 2)
            self._statements[name] = sql
        if kind == b"B":
            _, name, _ = body.split(b"\0", 2)
            return self._statements.get(name, b"")
        return None

    def _forward_answers(self) -> None:
        for messages in _bursts(self._database):
            burst = bytearray()
            for kind, body in messages:
                if kind == b"K":
                    self._backend = int.from_bytes(body[:4])
                elif kind == b"E":
                    codes = [field[1:] for field in body.split(b"\0") if field[:1] == b"C"]
                    self._proxy.count(f"error {codes[0].decode()}")
                elif kind == b"C" and body == b"COMMIT\0":
                    self._proxy.count("commits")
                    if self._hides_commit or self._client_has_gone:
                        self._answer(burst)
                        return
                burst += _message(kind, body)
            self._answer(burst)

    def _answer(self, burst: bytes | bytearray) -> None:
        self._proxy.speaks.wait()
        if not self._client_has_gone:
            self._client.sendall(burst)

    def _terminate(self) -> None:
        # The database may be away itself just now.
        with contextlib.suppress(psycopg.OperationalError):
            with psycopg.connect(self._proxy.database_url, autocommit=True) as connection:
                connection.execute("SELECT pg_terminate_backend(%s)", (self._backend,))


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4) + body


def _bursts(source: socket.socket) -> Iterator[list[tuple[bytes, bytes]]]:
    """Yield the messages that come together, each with its kind and its body."""
    kept = b""
    while received := source.recv(65_536):
        kept += received
        messages = []
        while len(kept) >= 5 and len(kept) > (length := int.from_bytes(kept[1:5])):
            messages.append((kept[:1], kept[5 : 1 + length]))
            kept = kept[1 + length :]
        yield messages


def _exactly(source: socket.socket, length: int) -> bytes:
    """Return so many bytes, or none where the source ends before."""
    received = b""
    while len(received) < length:
        part = source.recv(length - len(received))
        if not part:
            return b""
        received += part
    return received
