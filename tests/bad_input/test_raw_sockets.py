"""Proves that clients which misuse the wire are answered 4xx or cut off in time, and hurt nobody else."""

import base64
import json
import resource
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from support import RunningServer, SiteWorld, readable, start_server, writable

DEADLINE = 1
# The sweep for late requests comes twice a second; the rest is for a busy machine.
PATIENCE = DEADLINE + 4
MOST_KILOBYTES = 40_000
END = b"\r\n\r\n"


@dataclass(frozen=True)
class Quick:
    """A server with short deadlines, and a site on it."""

    server: RunningServer
    site: SiteWorld

    @property
    def bearer(self) -> bytes:
        return b"Authorization: Bearer " + self.site.token.encode() + b"\r\n"

    def get(self, more: bytes = b"") -> bytes:
        """Return a good request for the list."""
        return b"GET /v1/contacts?page[size]=1 HTTP/1.1\r\nHost: a\r\n" + self.bearer + more + b"\r\n"

    def version(self, number: int) -> bytes:
        """Return a good request that asks for no token, with a number that comes back in a header."""
        return b"GET /v1/version HTTP/1.1\r\nHost: a\r\nX-Request-Id: number-%d\r\n\r\n" % number

    def body(self, email: str) -> bytes:
        return json.dumps(self.site.document(email=email)).encode()

    def head(self, more: bytes) -> bytes:
        """Return the head of a create."""
        return b"POST /v1/contacts HTTP/1.1\r\nHost: a\r\n" + self.bearer + more + b"\r\n"

    def post(self, email: str, length: int | None = None, more: bytes = b"") -> bytes:
        """Return a create, with its true length or another."""
        body = self.body(email)
        announced = len(body) if length is None else length
        return self.head(b"Content-Length: %d\r\n" % announced + more) + body

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), PATIENCE)

    def stored(self, email: str) -> int:
        return int(self.site.client.get(f"/v1/contacts?filter[email]={email}").json["meta"]["total"])

    def kilobytes(self) -> int:
        """Return the memory that the server has now."""
        return int(
            subprocess.run(
                ["ps", "-o", "rss=", "-p", str(self.server.process.pid)],
                capture_output=True,
                check=True,
                text=True,
            ).stdout
        )


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quick]:
    server = start_server(
        tmp_path_factory.mktemp("quick") / "rollbook.db",
        ROLLBOOK_HEADER_SECONDS=str(DEADLINE),
        ROLLBOOK_BODY_SECONDS=str(DEADLINE),
    )
    yield Quick(server, server.new_site())
    assert server.stop() == 0


@pytest.fixture(autouse=True)
def _others_are_served(quick: Quick) -> Iterator[None]:
    """After each misbehaviour another client is served, and nothing unexpected was logged."""
    yield
    with closing(quick.server.client()) as other:
        assert other.get("/v1/version").status == 200
    assert [line for line in quick.server.log_lines() if line["level"] == "error"] == []


def read_to_end(connection: socket.socket) -> bytes:
    """Read until the server closes; fail when it has not within the patience."""
    got = b""
    try:
        while part := connection.recv(65_536):
            got += part
    except ConnectionResetError:
        pass  # closed with bytes of ours unread
    return got


def answers(got: bytes) -> list[tuple[int, dict[bytes, bytes], bytes]]:
    """Return the final answers in bytes from the wire: status, headers, body."""
    found = []
    while got:
        head, end, got = got.partition(END)
        if not end:
            break  # not whole yet
        lines = head.split(b"\r\n")
        assert lines[0].startswith(b"HTTP/1.1 "), lines[0]
        status = int(lines[0].split()[1])
        headers = dict(line.lower().split(b": ", 1) for line in lines[1:])
        length = int(headers.get(b"content-length", b"0"))
        if len(got) < length:
            break  # not whole yet
        if status >= 200:
            found.append((status, headers, got[:length]))
        got = got[length:]
    return found


def statuses(got: bytes) -> list[int]:
    return [status for status, _, _ in answers(got)]


def talk(quick: Quick, sent: bytes, *, end: bool = True) -> list[int]:
    """Send bytes, close the sending half, and return the statuses of all answers until the server closes."""
    with closing(quick.connect()) as connection:
        try:
            connection.sendall(sent)
            if end:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused before all was sent
        return statuses(read_to_end(connection))


def trickle(connection: socket.socket, sent: bytes) -> float:
    """Send a byte at a time until the server answers or closes; return the seconds that it took."""
    began = time.monotonic()
    for at in range(len(sent)):
        connection.sendall(sent[at : at + 1])
        if readable(connection, 0.05):
            return time.monotonic() - began
    raise AssertionError("the server let all of it come")


# ---------------------------------------------------------------------------------------------------------
# Slow and cut


def test_head_that_comes_a_byte_at_a_time_is_answered_408_and_closed_in_time(quick: Quick) -> None:
    with closing(quick.connect()) as connection:
        assert trickle(connection, quick.post("slow-head@example.test")) < PATIENCE
        assert statuses(read_to_end(connection)) == [408]
    assert quick.stored("slow-head@example.test") == 0


def test_second_head_that_comes_a_byte_at_a_time_is_answered_408_too(quick: Quick) -> None:
    with closing(quick.connect()) as connection:
        connection.sendall(quick.version(1))
        got = b""
        while statuses(got) != [200]:
            got += connection.recv(65_536)
        assert trickle(connection, quick.post("slow-head@example.test")) < PATIENCE
        assert statuses(read_to_end(connection)) == [408]


def test_body_that_comes_a_byte_at_a_time_is_answered_408_and_not_stored(quick: Quick) -> None:
    body = quick.body("slow-body@example.test")
    with closing(quick.connect()) as connection:
        connection.sendall(quick.head(b"Content-Length: %d\r\n" % len(body)))
        assert trickle(connection, body) < PATIENCE
        assert statuses(read_to_end(connection)) == [408]
    assert quick.stored("slow-body@example.test") == 0


def test_chunks_that_come_a_byte_at_a_time_are_answered_408_and_not_stored(quick: Quick) -> None:
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in quick.body("slow-chunks@example.test")) + b"0\r\n\r\n"
    with closing(quick.connect()) as connection:
        connection.sendall(quick.head(b"Transfer-Encoding: chunked\r\n"))
        assert trickle(connection, body) < PATIENCE
        assert statuses(read_to_end(connection)) == [408]
    assert quick.stored("slow-chunks@example.test") == 0


@pytest.mark.parametrize("sent", [b"", b"\r\n" * 20, b"G", b"GET / HTTP/1.1\r\nHost: a\r\nX: "])
def test_connection_that_stays_silent_is_closed_in_time(quick: Quick, sent: bytes) -> None:
    assert talk(quick, sent, end=False) == [408]


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("reset", [False, True])
def test_body_that_is_cut_is_not_stored(quick: Quick, part: float, reset: bool) -> None:
    email = f"cut-{part}-{reset}@example.test"
    body = quick.body(email)
    with closing(quick.connect()) as connection:
        connection.sendall(quick.head(b"Content-Length: %d\r\n" % len(body)) + body[: int(len(body) * part)])
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert quick.stored(email) == 0


def test_body_of_chunks_without_the_last_is_not_stored(quick: Quick) -> None:
    body = quick.body("no-last-chunk@example.test")
    sent = quick.head(b"Transfer-Encoding: chunked\r\n") + b"%x\r\n%s\r\n" % (len(body), body)
    assert talk(quick, sent) in ([], [400])
    assert talk(quick, sent, end=False) == [408]
    assert quick.stored("no-last-chunk@example.test") == 0


def test_half_close_after_whole_request_is_answered(quick: Quick) -> None:
    assert talk(quick, quick.get()) == [200]
    assert talk(quick, quick.post("half@example.test")) == [201]
    assert quick.stored("half@example.test") == 1


@pytest.mark.parametrize("missing", [1, 2, 50, 300])
def test_half_close_within_a_request_stores_nothing(quick: Quick, missing: int) -> None:
    email = f"half-{missing}@example.test"
    assert talk(quick, quick.post(email)[:-missing]) in ([], [400])
    assert quick.stored(email) == 0


# ---------------------------------------------------------------------------------------------------------
# Lengths and framing


def test_content_length_that_is_too_short_is_refused_and_nothing_is_stored(quick: Quick) -> None:
    assert set(talk(quick, quick.post("short@example.test", 20))) == {400}
    assert quick.stored("short@example.test") == 0


def test_content_length_that_is_too_long_is_answered_408_and_nothing_is_stored(quick: Quick) -> None:
    assert talk(quick, quick.post("long@example.test", 5_000), end=False) == [408]
    assert quick.stored("long@example.test") == 0


@pytest.mark.parametrize(
    "length",
    [
        b"+3",
        b"-1",
        b"3,3",
        b"3, 3",
        b"0x3",
        b"3 3",
        b"",
        b"1e1",
        b"3\x0b",
        b"3;",
        b"9" * 20,
        b"9" * 400,
        "３".encode(),
    ],
)
def test_content_length_that_is_no_number_is_refused_and_ends_the_connection(
    quick: Quick, length: bytes
) -> None:
    assert talk(quick, quick.head(b"Content-Length: " + length + b"\r\n") + b"abc" + quick.get()) == [400]


@pytest.mark.parametrize("length", [2 << 20, 1 << 40, (1 << 64) - 1])
def test_announced_body_beyond_the_limit_gets_one_413_and_the_connection_ends(
    quick: Quick, length: int
) -> None:
    assert talk(quick, quick.post("huge@example.test", length), end=False) == [413]


def test_streamed_body_beyond_the_limit_gets_one_413_and_is_not_kept(quick: Quick) -> None:
    before = quick.kilobytes()
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    assert talk(quick, quick.head(b"Transfer-Encoding: chunked\r\n") + chunk * 600, end=False) == [413]
    assert quick.kilobytes() - before < MOST_KILOBYTES


def test_request_refused_by_its_head_gets_one_answer_though_its_body_never_comes(quick: Quick) -> None:
    head = b"POST /v1/contacts HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"
    assert talk(quick, head, end=False) == [401]


SMUGGLED = {
    "CL and TE": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "TE and CL": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "TE and empty CL": b"Transfer-Encoding: chunked\r\nContent-Length:\r\n",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 0\r\n",
    "two lengths the other way": b"Content-Length: 0\r\nContent-Length: 5\r\n",
    "list of lengths": b"Content-Length: 5, 0\r\n",
    "TE x": b"Transfer-Encoding: xchunked\r\n",
    "TE chunked last but one": b"Transfer-Encoding: chunked, identity\r\n",
    "TE identity": b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
    "TE twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
    "TE twice the other way": b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "TE chunked twice": b"Transfer-Encoding: chunked, chunked\r\n",
    "TE in quotes": b'Transfer-Encoding: "chunked"\r\n',
    "TE empty": b"Transfer-Encoding:\r\nContent-Length: 5\r\n",
    "TE with NUL": b"Transfer-Encoding: chunked\0\r\n",
    "TE with vertical tab": b"Transfer-Encoding:\x0bchunked\r\n",
    "TE with form feed": b"Transfer-Encoding: \x0cchunked\r\n",
    "TE with space before colon": b"Transfer-Encoding : chunked\r\n",
    "TE with tab before colon": b"Transfer-Encoding\t: chunked\r\n",
    "TE with line before colon": b"Transfer-Encoding\r\n: chunked\r\n",
    "TE with space before": b" Transfer-Encoding: chunked\r\n",
    "TE folded": b"X: a\r\n Transfer-Encoding: chunked\r\n",
    "TE value folded": b"Transfer-Encoding:\r\n chunked\r\n",
    "TE behind bare LF": b"X: a\nTransfer-Encoding: chunked\r\n",
    "TE behind bare CR": b"X: a\rTransfer-Encoding: chunked\r\n",
    "TE behind NUL": b"X: a\0Transfer-Encoding: chunked\r\n",
    "TE with bare LF": b"Transfer-Encoding: chunked\n",
    "CL with space before colon": b"Content-Length : 5\r\n",
    "CL with bare LF": b"Content-Length: 5\n",
    "CL with plus": b"Content-Length: +5\r\n",
    "name with space": b"X Y: a\r\n",
    "name with parentheses": b"(X): a\r\n",
    "name empty": b": a\r\n",
    "no colon": b"X\r\n",
}


@pytest.mark.parametrize("headers", [pytest.param(value, id=name) for name, value in SMUGGLED.items()])
def test_request_of_two_meanings_is_refused_and_what_follows_is_never_seen(
    quick: Quick, headers: bytes
) -> None:
    smuggled = quick.post("smuggled@example.test")
    for rest in (b"0\r\n\r\n" + smuggled, b"5\r\nabcde\r\n0\r\n\r\n" + smuggled, smuggled):
        assert talk(quick, quick.head(headers) + rest) == [400]
    assert quick.stored("smuggled@example.test") == 0


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\n",
        b"\r\n",
        b"-1\r\nab\r\n0\r\n\r\n",
        b"+2\r\nab\r\n0\r\n\r\n",
        b"0x2\r\nab\r\n0\r\n\r\n",
        b" 2\r\nab\r\n0\r\n\r\n",
        b"2 \r\nab\r\n0\r\n\r\n",
        b"2\nab\n0\n\n",
        b"2\r\nabc\r\n0\r\n\r\n",
        b"2\r\nab0\r\n\r\n",
        b"2;a\nb\r\nab\r\n0\r\n\r\n",
        b"2;a\rb\r\nab\r\n0\r\n\r\n",
        b"2;\0\r\nab\r\n0\r\n\r\n",
        b"FFFFFFFFFFFFFFFFF\r\nab",
        b"10000000000000002\r\nab\r\n0\r\n\r\n",
    ],
)
def test_damaged_chunk_is_refused_and_what_follows_is_never_seen(quick: Quick, chunks: bytes) -> None:
    smuggled = quick.post("chunk@example.test")
    assert talk(quick, quick.head(b"Transfer-Encoding: chunked\r\n") + chunks + smuggled) == [400]
    assert quick.stored("chunk@example.test") == 0


@pytest.mark.parametrize("end", [b"\n\n", b"\n\r\n", b"\r\n\n", b"\r\r"])
def test_head_that_ends_without_cr_and_lf_is_refused(quick: Quick, end: bytes) -> None:
    assert talk(quick, quick.get()[: -len(END)] + end + quick.get()) == [400]


def test_good_chunks_are_taken_with_extensions_and_trailers(quick: Quick) -> None:
    body = quick.body("chunked@example.test")
    half = len(body) // 2
    sent = b"%x;a=b\r\n%s\r\n%X\r\n%s\r\n0\r\nX-Sum: 1\r\n\r\n" % (
        half,
        body[:half],
        len(body) - half,
        body[half:],
    )
    assert talk(quick, quick.head(b"Transfer-Encoding: chunked\r\n") + sent + quick.version(1)) == [201, 200]
    assert quick.stored("chunked@example.test") == 1


def test_trailer_is_no_header(quick: Quick) -> None:
    form = f"grant_type=client_credentials&client_id={quick.site.client_id}".encode()
    head = b"POST /v1/oauth/token HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
    head += b"Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    basic = basic_of(quick.site)
    sent = head + b"%x\r\n%s\r\n0\r\nAuthorization: Basic %s\r\n\r\n" % (len(form), form, basic)
    assert talk(quick, sent) == [400]
    as_header = head[:-2] + b"Authorization: Basic " + basic + b"\r\n\r\n"
    assert talk(quick, as_header + b"%x\r\n%s\r\n0\r\n\r\n" % (len(form), form)) == [200]


def basic_of(site: SiteWorld) -> bytes:
    """Return a site's key as HTTP Basic has it."""
    return base64.b64encode(f"{site.client_id}:{site.client_secret}".encode())


@pytest.mark.parametrize("part", [b"X: y\r\n" * 10_000, b"y" * 60_000], ids=["many", "one"])
def test_endless_trailers_are_cut_off_in_time_and_not_kept(quick: Quick, part: bytes) -> None:
    before = quick.kilobytes()
    body = quick.body("trailers@example.test")
    with closing(quick.connect()) as connection:
        connection.sendall(
            quick.head(b"Transfer-Encoding: chunked\r\n") + b"%x\r\n%s\r\n" % (len(body), body)
        )
        connection.sendall(b"0\r\nX: ")
        assert flood(connection, part) < PATIENCE
    assert quick.kilobytes() - before < MOST_KILOBYTES
    assert quick.stored("trailers@example.test") == 0


def flood(connection: socket.socket, part: bytes) -> float:
    """Send the same bytes until the server closes; return the seconds that it took."""
    began = time.monotonic()
    try:
        while time.monotonic() - began < 2 * PATIENCE:
            connection.sendall(part)
    except OSError:
        pass
    return time.monotonic() - began


# ---------------------------------------------------------------------------------------------------------
# Too much


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET /v1/version HTTP/1.1\r\n" + b"X: y\r\n" * 100_000 + b"\r\n", id="100,000 headers"),
        pytest.param(b"GET /v1/version HTTP/1.1\r\nX: " + b"y" * 1_000_000 + END, id="one large value"),
        pytest.param(b"GET /v1/version HTTP/1.1\r\n" + b"y" * 1_000_000 + b": x" + END, id="one large name"),
        pytest.param(b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1" + END, id="huge path"),
        pytest.param(b"GET /v1/version?" + b"a=b&" * 100_000 + b" HTTP/1.1" + END, id="huge query"),
        pytest.param(b"GET /v1/version?" + b"a" * 40_000 + b" HTTP/1.1" + END, id="large query"),
    ],
)
def test_head_beyond_the_limit_is_answered_431_and_closed(quick: Quick, sent: bytes) -> None:
    before = quick.kilobytes()
    # The answer may be lost when it crosses what is still being sent; a second one never comes.
    assert talk(quick, sent, end=False) in ([431], [])
    assert quick.kilobytes() - before < MOST_KILOBYTES


@pytest.mark.parametrize("start", [b"GET /v1/version HTTP/1.1\r\nX: ", b"GET /", b"", b"GET / HTTP/1.1\r\n"])
def test_endless_head_is_cut_off_in_time_and_not_kept(quick: Quick, start: bytes) -> None:
    before = quick.kilobytes()
    with closing(quick.connect()) as connection:
        connection.sendall(start)
        assert flood(connection, b"y" * 60_000) < PATIENCE
    assert quick.kilobytes() - before < MOST_KILOBYTES


def test_1500_idle_connections_leave_the_server_answering_and_are_all_closed(quick: Quick) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4_000:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4_000, hard), hard))
    before = quick.kilobytes()
    idle = [quick.connect() for _ in range(1_500)]
    try:
        for at, connection in enumerate(idle):
            if at % 3:
                connection.sendall(b"GET /v1/version HTTP/1.1\r\nX-Slow: " if at % 3 == 1 else b"\r\n")
        assert quick.site.create(email="idle@example.test").status == 201
        assert quick.kilobytes() - before < 2 * MOST_KILOBYTES
        for connection in idle:
            assert statuses(read_to_end(connection)) == [408]
    finally:
        for connection in idle:
            connection.close()


def test_client_that_pipelines_and_never_reads_costs_no_memory_and_holds_nobody_up(quick: Quick) -> None:
    before = quick.kilobytes()
    with closing(quick.connect()) as connection:
        connection.setblocking(False)
        part = quick.get() * 200
        full = time.monotonic() + PATIENCE
        # Until the buffers on both sides are full: then the server has stopped reading.
        while time.monotonic() < full and writable(connection, 1):
            try:
                connection.send(part)
            except BlockingIOError:
                continue
        assert quick.site.create(email="unread@example.test").status == 201
        assert quick.kilobytes() - before < 2 * MOST_KILOBYTES


# ---------------------------------------------------------------------------------------------------------
# Several at once


def test_ten_requests_in_one_write_get_ten_answers_in_order(quick: Quick) -> None:
    emails = [f"pipe{at}@example.test" for at in range(10)]
    with closing(quick.connect()) as connection:
        connection.sendall(b"".join(map(quick.post, emails)))
        connection.shutdown(socket.SHUT_WR)
        found = answers(read_to_end(connection))
    assert [status for status, _, _ in found] == [201] * 10
    assert [json.loads(body)["data"]["attributes"]["email"] for _, _, body in found] == emails


def test_hundred_mixed_requests_in_one_write_are_answered_in_order(quick: Quick) -> None:
    sent = b""
    for at in range(50):
        sent += quick.version(at) + quick.post(f"mixed{at}@example.test")
    with closing(quick.connect()) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        found = answers(read_to_end(connection))
    assert [status for status, _, _ in found] == [200, 201] * 50
    numbers = [headers[b"x-request-id"] for _, headers, _ in found[::2]]
    assert numbers == [b"number-%d" % at for at in range(50)]


def test_create_and_garbage_in_one_write_are_told_apart_honestly(quick: Quick) -> None:
    found = talk(quick, quick.post("garbage@example.test") + b"\0garbage\r\n\r\n")
    # Either the create is answered and then the garbage, or all is refused and nothing was stored.
    assert (found, quick.stored("garbage@example.test")) in (([201, 400], 1), ([400], 0))


# ---------------------------------------------------------------------------------------------------------
# Not the protocol


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(500), id="TLS hello"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", id="HTTP/2 preface"),
        pytest.param(bytes(range(256)) * 10, id="all bytes"),
        pytest.param(b"\0" * 1_000, id="NULs"),
        pytest.param(b"\xff" * 1_000, id="high bytes"),
        pytest.param(b"SSH-2.0-OpenSSH_9.0\r\n", id="SSH"),
        pytest.param(b"EHLO a\r\n", id="SMTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", id="an answer"),
        pytest.param(b"GET\r\n\r\n", id="method alone"),
        pytest.param(b"GET /v1/version HTTP/1.1 x\r\n\r\n", id="words after the version"),
        pytest.param(b"GET /v1/version http/1.1\r\n\r\n", id="version in small letters"),
        pytest.param(b"GET /v1/version HTTP/1.10\r\n\r\n", id="version 1.10"),
        pytest.param(b"GET /v1/version HTTP/3.7\r\n\r\n", id="version 3.7"),
        pytest.param(b'{"jsonrpc":"2.0"}\r\n\r\n', id="JSON"),
    ],
)
def test_what_is_not_http_is_answered_400_and_closed(quick: Quick, sent: bytes) -> None:
    assert talk(quick, sent, end=False) == [400]


@pytest.mark.parametrize(
    "path",
    [
        b"/\0",
        b"/v1/version\0",
        b"/v1/version?\0",
        b"/a b",
        b"/\x7f",
        b"/\t",
        b"/\x0b",
        b"",
        b"x",
        b"x:y",
        b"\\",
    ]
    + [b"/%c" % code for code in range(1, 0x20)]
    + [b"http://", b"http://[::1/", b"https://a:99999/x"],
)
def test_target_with_control_characters_or_without_sense_is_refused(quick: Quick, path: bytes) -> None:
    sent = b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n" + quick.bearer + b"\r\n"
    assert set(talk(quick, sent)) == {400}


@pytest.mark.parametrize(
    "path",
    [
        b"/\xff",
        "/é".encode(),
        b"/%",
        b"/%zz",
        b"/%00",
        b"/%ff",
        b"/v1/contacts%00",
        b"/v1/contacts/%0d%0a",
        b"*",
    ]
    + [b"//a/v1/contacts", b"/v1/../v1/contacts", b"/./v1/contacts", b"/v1//contacts", b"/v1/contacts;a=b"],
)
def test_odd_target_is_unknown_or_refused(quick: Quick, path: bytes) -> None:
    sent = b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n" + quick.bearer + b"\r\n"
    assert talk(quick, sent) in ([404], [400])


def test_absolute_target_is_answered_like_its_path(quick: Quick) -> None:
    sent = b"GET http://elsewhere.example.test/v1/version HTTP/1.1\r\nHost: a\r\n\r\n"
    assert talk(quick, sent) == [200]


@pytest.mark.parametrize(
    "method",
    [
        b"PUT",
        b"PATCH",
        b"TRACE",
        b"OPTIONS",
        b"PROPFIND",
        b"M-SEARCH",
        b"PURGE",
        b"LINK",
        b"CONNECT",
        b"DELETE",
    ],
)
def test_known_method_without_a_route_is_answered_404(quick: Quick, method: bytes) -> None:
    sent = method + b" /v1/contacts HTTP/1.1\r\nHost: a\r\n" + quick.bearer + b"\r\n"
    assert talk(quick, sent) == [404]


@pytest.mark.parametrize(
    "method",
    [b"FOO", b"get", b"G\0T", b"", b"G(T", b"GET\t", b"PRI", b"X" * 1_000, "GÉT".encode(), b"POST\x0b"],
)
def test_method_that_is_none_is_refused(quick: Quick, method: bytes) -> None:
    sent = method + b" /v1/contacts HTTP/1.1\r\nHost: a\r\n" + quick.bearer + b"\r\n"
    assert talk(quick, sent) in ([400], [404])


@pytest.mark.parametrize(
    "line", [b"GET /v1/version", b"GET  /v1/version  HTTP/1.1", b"GET /v1/version HTTP/2.0"]
)
def test_odd_request_line_is_answered_once_or_refused(quick: Quick, line: bytes) -> None:
    assert talk(quick, line + END) in ([200], [400])


def test_http_1_0_is_answered_and_closed(quick: Quick) -> None:
    sent = quick.get().replace(b"HTTP/1.1", b"HTTP/1.0")
    assert talk(quick, sent, end=False) == [200]


def test_100_continue_is_sent_before_the_body_and_the_create_succeeds(quick: Quick) -> None:
    body = quick.body("expect@example.test")
    with closing(quick.connect()) as connection:
        connection.sendall(quick.head(b"Content-Length: %d\r\nExpect: 100-continue\r\n" % len(body)))
        assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        connection.shutdown(socket.SHUT_WR)
        assert statuses(read_to_end(connection)) == [201]


def test_body_that_is_expected_and_never_comes_is_answered_408(quick: Quick) -> None:
    sent = quick.head(b"Content-Length: 100\r\nExpect: 100-continue\r\n")
    assert talk(quick, sent, end=False) == [408]


def test_body_without_token_is_refused_without_asking_for_it(quick: Quick) -> None:
    with closing(quick.connect()) as connection:
        head = b"POST /v1/contacts HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
        connection.sendall(head)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 401 ")


UPGRADES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    "websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "TLS": b"Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n",
}
upgrades = pytest.mark.parametrize(
    "headers", [pytest.param(value, id=name) for name, value in UPGRADES.items()]
)


@upgrades
def test_upgrade_is_ignored_on_a_read(quick: Quick, headers: bytes) -> None:
    assert talk(quick, quick.get(headers)) == [200]


@upgrades
def test_upgrade_is_ignored_on_a_create_whose_body_counts(quick: Quick, headers: bytes) -> None:
    # Clients in the field offer h2c with every request, those with a body too.
    email = f"upgrade{len(headers)}@example.test"
    assert talk(quick, quick.post(email, more=headers)) == [201]
    assert quick.stored(email) == 1


def test_connect_is_refused_and_ends_the_connection(quick: Quick) -> None:
    sent = b"CONNECT /v1/contacts HTTP/1.1\r\nHost: a\r\n" + quick.bearer + b"\r\n" + quick.get()
    assert talk(quick, sent, end=False) == [404]
    assert talk(quick, sent.replace(b"/v1/contacts", b"a:443", 1), end=False) == [400]


@upgrades
def test_body_that_speaks_of_an_upgrade_is_left_alone(quick: Quick, headers: bytes) -> None:
    email = f"mentions{len(headers)}@example.test"
    document = quick.site.document(email=email, custom_1="Upgrade: h2c")
    body = json.dumps(document).replace(", ", ",\r\n").encode()
    assert talk(quick, quick.head(headers + b"Content-Length: %d\r\n" % len(body)) + body) == [201]
    found = quick.site.client.get(f"/v1/contacts?filter[email]={email}").json["data"]
    assert found[0]["attributes"]["custom_1"] == "Upgrade: h2c"


@upgrades
def test_request_after_one_that_offers_an_upgrade_is_answered_or_the_connection_closed(
    quick: Quick, headers: bytes
) -> None:
    with closing(quick.connect()) as connection:
        connection.sendall(quick.get(headers) + quick.version(1))
        got = b""
        while statuses(got) != [200, 200]:
            assert readable(connection, PATIENCE), "the second request waits in vain"
            part = connection.recv(65_536)
            if not part:
                break
            got += part
    assert statuses(got) in ([200], [200, 200])
