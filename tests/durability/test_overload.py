"""Proves that overload is answered, not queued without end, and that nothing acknowledged is lost by it."""

import resource
import socket
import threading
from collections.abc import Callable

import pytest

from databases import writes_held
from support import Reply, RunningServer, wait_until


def test_more_writes_than_may_wait_are_refused_at_once_and_the_server_recovers(
    serve: Callable[..., RunningServer],
) -> None:
    server = serve(ROLLBOOK_MAX_WAITING="5")
    site = server.new_site()
    replies: list[Reply] = []

    def create(number: int) -> None:
        replies.append(
            server.client(site.token).post("/v1/contacts", site.document(email=f"{number}@x.test"))
        )

    threads = [threading.Thread(target=create, args=(number,)) for number in range(40)]
    with writes_held(server.database_url):
        for thread in threads:
            thread.start()
        # Those that find no room are answered while the lock is still held.
        wait_until(lambda: len(replies) >= 20, 4)
        assert {reply.status for reply in replies} == {503}
        assert {reply.headers["retry-after"] for reply in replies} == {"1"}
        # Where reads wait for the database too, the last of the creators may still be in their way.
        wait_until(lambda: site.client.get("/v1/contacts").status == 200, 10)
        assert site.client.get("/v1/contacts").json["meta"]["total"] == 0
    for thread in threads:
        thread.join()
    made = sum(reply.status == 201 for reply in replies)
    assert site.client.get("/v1/contacts").json["meta"]["total"] == made
    assert site.create(email="after@x.test").status == 201


def test_more_connections_than_allowed_are_refused_and_room_is_given_back(
    serve: Callable[..., RunningServer],
) -> None:
    server = serve(ROLLBOOK_MAX_CONNECTIONS="10")
    held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(10)]
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as one_more:
        answer = one_more.recv(65_536)
        while part := one_more.recv(65_536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\n" in answer
    assert b'"detail":"The service is temporarily unavailable"' in answer
    for each in held:
        each.close()

    def answers() -> bool:
        probe = server.client()
        try:
            return probe.get("/livez").status == 200
        finally:
            probe.close()

    wait_until(answers, 10)


@pytest.mark.sqlite
def test_a_full_disk_is_answered_503_and_loses_nothing(serve: Callable[..., RunningServer]) -> None:
    server = serve()
    site = server.new_site()
    assert site.create(email="before@x.test").status == 201
    # A file may grow no further, as on a disk without room; SQLite is told so by a failed write.
    size = max(file.stat().st_size for file in server.database.parent.glob("rollbook.db*"))
    before = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, before[1]))
    acknowledged = ["before@x.test"]
    refused = None
    for number in range(400):
        reply = site.create(email=f"{number}@x.test", address_line_1="x" * 2_000)
        if reply.status == 201:
            acknowledged.append(f"{number}@x.test")
        else:
            refused = reply
            break
    assert refused is not None
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert site.client.get("/v1/contacts").status == 200
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, before)
    assert site.create(email="after@x.test").status == 201
    listed = site.client.get("/v1/contacts?page[size]=1000&sort=created_at").json["data"]
    assert [each["attributes"]["email"] for each in listed] == [*acknowledged, "after@x.test"]
