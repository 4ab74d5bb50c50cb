"""Proves that of many creates of one e-mail that come at once, one wins, and the others are told who."""

import json
import selectors
import socket
from collections import Counter

from support import RunningServer, SiteWorld

ROUNDS = 20
AT_ONCE = 1_000


def test_of_a_thousand_simultaneous_creates_one_wins(server: RunningServer, site: SiteWorld) -> None:
    for round_number in range(ROUNDS):
        email = f"round.{round_number}@example.test"
        answers = ask_at_once(server, site, email, AT_ONCE)
        statuses = Counter(status for status, _ in answers)
        assert statuses == {201: 1, 422: AT_ONCE - 1}
        (made,) = [document["data"]["id"] for status, document in answers if status == 201]
        for status, document in answers:
            if status == 422:
                (error,) = document["errors"]
                assert error["detail"] == "Email has already been taken"
                assert error["meta"] == {"existing_id": made}
        found = site.client.get(f"/v1/contacts?filter[email]={email}").json
        assert [each["id"] for each in found["data"]] == [made]
    assert site.client.get("/v1/contacts").json["meta"]["total"] == ROUNDS


def ask_at_once(server: RunningServer, site: SiteWorld, email: str, times: int) -> list[tuple[int, dict]]:  # type: ignore[type-arg]
    """Open so many connections, then send the same create on all; return statuses and documents."""
    body = json.dumps(site.document(email=email)).encode()
    request = (
        f"POST /v1/contacts HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {site.token}\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    raw = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(times)]
    for each in raw:
        each.sendall(request)
    answers: list[tuple[int, dict]] = []  # type: ignore[type-arg]
    received = dict.fromkeys(raw, b"")
    with selectors.DefaultSelector() as selector:
        for each in raw:
            selector.register(each, selectors.EVENT_READ)
        while received:
            ready = selector.select(60)
            assert ready, f"{len(received)} connections were not answered"
            for key, _ in ready:
                connection: socket.socket = key.fileobj  # type: ignore[assignment]
                part = connection.recv(65_536)
                received[connection] += part
                if not part:
                    selector.unregister(connection)
                    head, _, document = received.pop(connection).partition(b"\r\n\r\n")
                    answers.append((int(head.split()[1]), json.loads(document)))
                    connection.close()
    return answers
