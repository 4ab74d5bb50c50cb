"""What the tests share: a real server in a process of its own, and a client for it."""

import contextlib
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from databases import direct, url_of
from rollbook.register import keys, sites
from rollbook.storage.opening import open_database
from rollbook.storage.transactions import Transaction

STARTUP_SECONDS = 30


@dataclass(frozen=True)
class Reply:
    """An answer: status, headers by lower-case name, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


# Whoever wants to overhear what the clients of this process ask and are answered.
LISTENERS: list[Callable[[str, str, Reply], None]] = []


class Client:
    """A client of one server, with one connection that it opens anew when need be."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        self.token = token
        at = urlsplit(url)
        self._connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=60)

    def request(
        self,
        method: str,
        path: str,
        document: Any = None,
        *,
        body: bytes | str | None = None,
        headers: dict[str, str] | None = None,
        token: str | None = None,
    ) -> Reply:
        """Send a request, with `document` as JSON or `body` as it stands; the token is the client's."""
        sent = (
            {} if self.token is None and token is None else {"Authorization": f"Bearer {token or self.token}"}
        )
        if document is not None:
            body = json.dumps(document)
            sent["Content-Type"] = "application/vnd.api+json"
        sent.update(headers or {})
        data = body.encode() if isinstance(body, str) else body
        try:
            self._connection.request(method, path, data, sent)
            answer = self._connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self._connection.close()
            self._connection.request(method, path, data, sent)
            answer = self._connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        reply = Reply(answer.status, found, answer.read())
        for listen in LISTENERS:
            listen(method, path, reply)
        return reply

    def get(self, path: str, **more: Any) -> Reply:
        """GET a path."""
        return self.request("GET", path, **more)

    def post(self, path: str, document: Any = None, **more: Any) -> Reply:
        """POST a document to a path."""
        return self.request("POST", path, document, **more)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@dataclass(frozen=True)
class SiteWorld:
    """A site of one test's own, with a key that sees it alone."""

    id: str
    client_id: str
    client_secret: str
    token: str
    client: Client

    def document(self, **attributes: Any) -> dict[str, Any]:
        """Return the document that creates a contact with these attributes in this site."""
        return contact_document(self.id, **attributes)

    def create(self, **attributes: Any) -> Reply:
        """Create a contact in this site."""
        return self.client.post("/v1/contacts", self.document(**attributes))


def contact_document(site_id: str, **attributes: Any) -> dict[str, Any]:
    """Return the document that creates a contact."""
    return {
        "data": {
            "type": "contacts",
            "attributes": attributes,
            "relationships": {"site": {"data": {"type": "sites", "id": site_id}}},
        }
    }


@dataclass
class RunningServer:
    """A server process on a database, or the file that it stands for; `greeting` is what it printed."""

    url: str
    port: int
    database: Path
    database_url: str
    process: "subprocess.Popen[str]"
    greeting: str
    log: Path
    clients: list[Client] = field(default_factory=list)

    def client(self, token: str | None = None) -> Client:
        """Return a new client, closed with the server."""
        client = Client(self.url, token)
        self.clients.append(client)
        return client

    def new_site(
        self, *, permissions: tuple[str, ...] = (), title: str = "A site", site_id: int | None = None
    ) -> SiteWorld:
        """Make a site and a key for it, as the commands do, beside the running server."""

        def make(transaction: Transaction) -> tuple[sites.Site, keys.Key]:
            site = sites.create(transaction, title=title, subdomain=None, site_id=site_id)
            return site, keys.create(transaction, name="Test", site_ids=[site.id], permissions=permissions)

        with contextlib.closing(open_database(direct(self.database_url))) as database:
            site, key = database.do(make)
        assert key.client_secret is not None
        token = self.token(key.client_id, key.client_secret)
        return SiteWorld(str(site.id), key.client_id, key.client_secret, token, self.client(token))

    def token(self, client_id: str, client_secret: str) -> str:
        """Get an access token by client credentials."""
        reply = self.client().post(
            "/v1/oauth/token",
            {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret},
        )
        assert reply.status == 200, reply
        token: str = reply.json["access_token"]
        return token

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the JSON log lines that were written so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop the server by a signal, wait for its end, and return its exit code."""
        for client in self.clients:
            client.close()
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(60)
        if self.process.stdout:
            self.process.stdout.close()
        return code


def run_rollbook(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of Rollbook to its end, with these environment variables on top."""
    return subprocess.run(
        [sys.executable, "-m", "rollbook", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def feed_rollbook(given: bytes, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of Rollbook to its end, with these bytes on its standard input."""
    done = subprocess.run(
        [sys.executable, "-m", "rollbook", *arguments],
        env=os.environ | environment,
        input=given,
        capture_output=True,
        timeout=120,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def start_server(database: Path, *arguments: str, **environment: str) -> RunningServer:
    """Start a server on a database and a free port; return when it says that it has started."""
    log = database.with_name(database.name + f".{time.monotonic_ns()}.log")
    database_url = environment.get("ROLLBOOK_DATABASE") or url_of(database)
    settings = {"HOST": "127.0.0.1", "PORT": "0", "ROLLBOOK_DATABASE": database_url}
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "rollbook", "serve", *arguments],
            env=os.environ | settings | environment,
            stdout=subprocess.PIPE,
            stderr=out,
            stdin=subprocess.DEVNULL,
            text=True,
        )
    assert process.stdout is not None
    ready = readable(process.stdout, STARTUP_SECONDS)
    greeting = ""
    while ready and (line := process.stdout.readline()):
        greeting += line
        if "rollbook keys create" in line or "page[size]=10" in line:
            break
    found = re.search(r"listens on \S+:(\d+)\.", greeting)
    if found is None:
        process.kill()
        process.wait()
        process.stdout.close()
        raise AssertionError(f"the server did not start: {greeting}{log.read_text()}")
    # The socket listens from now on or soon: connecting waits in its backlog until it does.
    port = int(found[1])
    server = RunningServer(f"http://127.0.0.1:{port}", port, database, database_url, process, greeting, log)
    wait_until(lambda: _answers(server), STARTUP_SECONDS)
    return server


def readable(stream: int | IO[Any] | socket.socket, seconds: float, event: int = select.POLLIN) -> bool:
    """Wait for something to read; return whether there is, within so many seconds.

    `select.select` cannot watch a descriptor beyond 1,023, and a long run of tests has more open.
    """
    waiting = select.poll()
    waiting.register(stream, event)
    return bool(waiting.poll(seconds * 1_000))


def writable(stream: int | IO[Any] | socket.socket, seconds: float) -> bool:
    """Wait for room to write; return whether there is, within so many seconds."""
    return readable(stream, seconds, select.POLLOUT)


def wait_until(holds: Any, seconds: float) -> None:
    """Wait for a condition; fail when it does not come to hold within so many seconds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"{holds} did not come to hold within {seconds} s"
        time.sleep(0.01)


def _answers(server: RunningServer) -> bool:
    assert server.process.poll() is None, server.log.read_text()
    probe = Client(server.url)
    try:
        return probe.get("/livez").status == 200
    except OSError:
        return False
    finally:
        probe.close()
