"""Proves that what is refused before it is a request is refused in the words of the API, by JSON:API."""

import http.client
import json
import socket
from collections.abc import Callable
from contextlib import closing

import pytest

from support import RunningServer

Serve = Callable[..., RunningServer]
MALFORMED = (400, "Bad Request", "Request is not valid HTTP")
HEAD_TOO_SLOW = (408, "Request Timeout", "Request head did not arrive in time")
BODY_TOO_SLOW = (408, "Request Timeout", "Request body did not arrive in time")
HEAD_TOO_LARGE = (431, "Request Header Fields Too Large", "Request head is larger than 32768 bytes")


@pytest.mark.parametrize(
    ("sent", "refusal"),
    [
        (b"GET /v1/contacts HTTP/1.1\r\nHost x\r\n\r\n", MALFORMED),
        (b"GET /v1/contacts HTTP/1.1\r\nHost: x\r\n", HEAD_TOO_SLOW),
        (b"POST /v1/oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{", BODY_TOO_SLOW),
        (b"GET /v1/contacts HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 32_768 + b"\r\n\r\n", HEAD_TOO_LARGE),
    ],
    ids=["malformed", "slow head", "slow body", "large head"],
)
def test_what_is_no_request_is_refused_by_json_api(
    serve: Serve, sent: bytes, refusal: tuple[int, str, str]
) -> None:
    server = serve(ROLLBOOK_HEADER_SECONDS="1", ROLLBOOK_BODY_SECONDS="1")
    with closing(socket.create_connection(("127.0.0.1", server.port), 20)) as connection:
        connection.sendall(sent)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        body = answer.read()
        assert connection.recv(1) == b"", "it is closed, for nobody knows where the next request begins"
    status, title, detail = refusal
    assert answer.status == status
    assert answer.headers["content-type"] == "application/vnd.api+json"
    error = {"status": str(status), "source": None, "title": title, "detail": detail}
    assert json.loads(body) == {"errors": [error]}
