"""Proves that no name, address, number, query value, token or secret is found in the log or the output."""

import base64
import json
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from databases import content, run_sql, writes_held
from support import RunningServer, SiteWorld, wait_until

# Words that stand for what a person or a client would not want to read in a log.
NAME = "Zibeline Quartzworthy"
EMAIL = "zibeline.quartzworthy@secret-mail.example.test"
PHONE = "+351 555 867 5309"
STREET = "77 Whispering Gallery Row"
CUSTOM = "confidential-diagnosis-kx42"
SEARCHED = "needleinhaystack"
PARAMETER = "oddparametername"
PATH_ID = "pathsecretsegment"
AGENT = "agent-of-mystery-9000"
GUESSED_ID = "guessed-client-id-31337"
GUESSED_SECRET = "guessed-client-secret-31337"
GUESSED_TOKEN = "guessed-bearer-token-31337"
PASSWORD = "hunter2hunter2"
GARBAGE = "garbageonthewire"
WORDS = (
    *(NAME, "Quartzworthy", EMAIL, "secret-mail", PHONE, "867 5309", STREET, "Whispering", CUSTOM, SEARCHED),
    *(PARAMETER, PATH_ID, AGENT, GUESSED_ID, GUESSED_SECRET, GUESSED_TOKEN, PASSWORD, GARBAGE),
)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
Serve = Callable[..., RunningServer]


def spellings(word: str) -> set[str]:
    """Return a word as it stands and as it may come encoded."""
    return {
        word,
        word.lower(),
        quote(word),
        quote(word, safe=""),
        word.replace(" ", "+"),
        json.dumps(word)[1:-1],
        word.encode().hex(),
        base64.b64encode(word.encode()).decode().rstrip("="),
    }


def good_requests(site: SiteWorld) -> list[int]:
    created = site.create(
        name=NAME,
        email=EMAIL,
        phone_number=PHONE,
        business_number=PHONE,
        address_line_1=STREET,
        custom_1=CUSTOM,
    )
    path = f"/v1/contacts/{created.json['data']['id']}"
    queries = (
        f"?filter[email]={quote(EMAIL)}",
        f"?filter[search]={quote(NAME)}&sort=-name&page[size]=3",
        f"?filter[name_contains]={SEARCHED}&{PARAMETER}={SEARCHED}&filter[{PARAMETER}]={SEARCHED}",
        f"?fields[contacts]={SEARCHED}&sort={SEARCHED}&page[number]={SEARCHED}",
    )
    replies = [created, site.client.get(path), *(site.client.get("/v1/contacts" + each) for each in queries)]
    replies.append(site.client.get("/v1/me", headers={"User-Agent": AGENT, "Cookie": PASSWORD}))
    return [reply.status for reply in replies]


def bad_requests(server: RunningServer, site: SiteWorld) -> list[int]:
    client = site.client
    unknown_site = site.document(name=NAME, email=EMAIL)
    unknown_site["data"]["relationships"]["site"]["data"]["id"] = PATH_ID
    replies = [
        site.create(name=NAME, email=EMAIL),
        site.create(name=[NAME], email=EMAIL + " " + NAME, phone_number={"a": PHONE}, custom_1=CUSTOM + "\0"),
        client.post("/v1/contacts", unknown_site),
        client.post("/v1/contacts", body=f'{{"data": "{NAME} {EMAIL}'),
        client.post(
            "/v1/contacts", body=json.dumps({"data": {"type": CUSTOM, "attributes": {"name": NAME}}})
        ),
        client.post("/v1/contacts", body=NAME * 100_000),
        client.get(f"/v1/contacts/{PATH_ID}"),
        client.get(f"/{PATH_ID}/{quote(NAME)}?{PARAMETER}={SEARCHED}"),
        client.get(f"/v1/contacts?include={SEARCHED}"),
        client.request("PUT", f"/v1/contacts/{PATH_ID}?a={SEARCHED}", {"data": NAME}),
        client.get("/v1/me", token=GUESSED_TOKEN),
        client.get("/v1/me", headers={"Authorization": f"{GUESSED_TOKEN} {PASSWORD}"}),
        client.get("/v1/me", headers={"X-Request-Id": f"{NAME} <{EMAIL}>", "Authorization": ""}),
    ]
    with closing(server.client()) as stranger:
        replies.append(stranger.post("/v1/contacts", site.document(name=NAME, email=EMAIL)))
    return [reply.status for reply in replies]


def token_requests(site: SiteWorld) -> tuple[list[int], list[str]]:
    """Return the statuses, and the tokens that were given out."""
    client, path = site.client, "/v1/oauth/token"
    good = {
        "client_id": site.client_id,
        "client_secret": site.client_secret,
        "grant_type": "client_credentials",
    }
    pair = client.post(path, body=urlencode(good), headers=FORM)
    renewed = client.post(path, {"grant_type": "refresh_token", "refresh_token": pair.json["refresh_token"]})
    basic = base64.b64encode(f"{GUESSED_ID}:{GUESSED_SECRET}".encode()).decode()
    replies = [
        pair,
        renewed,
        client.post(path, {**good, "client_secret": GUESSED_SECRET}),
        client.post(path, body=urlencode({**good, "client_id": GUESSED_ID}), headers=FORM),
        client.post(path, body=urlencode({"refresh_token": GUESSED_TOKEN}), headers=FORM),
        client.post(path, body=urlencode({"username": EMAIL, "password": PASSWORD}), headers=FORM),
        client.post(path, body=urlencode({**good, "grant_type": PASSWORD}), headers=FORM),
        client.post(path, body=json.dumps(good)[:-1]),
        client.post(
            path, body="grant_type=client_credentials", headers={**FORM, "Authorization": f"Basic {basic}"}
        ),
        client.post(path + f"?client_secret={GUESSED_SECRET}"),
        client.post("/v1/oauth/revoke", body=urlencode({"token": GUESSED_TOKEN}), headers=FORM),
        client.post(
            "/v1/oauth/revoke", body=urlencode({"token": renewed.json["access_token"]}), headers=FORM
        ),
    ]
    tokens = [reply.json[kind] for reply in (pair, renewed) for kind in ("access_token", "refresh_token")]
    return [reply.status for reply in replies], [site.token, *tokens]


def misuse_the_wire(server: RunningServer, site: SiteWorld) -> None:
    """Send what is no request, and requests that end in the middle."""
    head = f"POST /v1/contacts?{PARAMETER}={SEARCHED} HTTP/1.1\r\nAuthorization: Bearer {site.token}\r\n"
    for sent in (
        f"{GARBAGE} {NAME} {EMAIL}\r\n\r\n",
        f"GET /{PATH_ID}?{SEARCHED} HTTP/9.9\r\nCookie: {PASSWORD}\r\n\r\n",
        f"GET /{PATH_ID}\x01 HTTP/1.1\r\n\r\n",
        head + f"{PARAMETER} : {GARBAGE}\r\n\r\n",
        head + f"X: {GARBAGE * 5_000}\r\n\r\n",
        head + f"Content-Length: 1000\r\n\r\n{NAME} {EMAIL}",
        head + f"Transfer-Encoding: chunked\r\n\r\n{GARBAGE}\r\n{NAME}",
        head + f"Connection: Upgrade\r\nUpgrade: {GARBAGE}\r\n\r\n",
    ):
        with closing(socket.create_connection(("127.0.0.1", server.port), 10)) as connection:
            connection.sendall(sent.encode())
            connection.shutdown(socket.SHUT_WR)
            try:
                while connection.recv(65_536):
                    pass
            except ConnectionResetError:
                pass  # cut off with bytes unread


def fail_for_want_of_storage(server: RunningServer, site: SiteWorld) -> list[int]:
    """Make requests while another program holds the database, and after it has damaged a table."""
    with writes_held(server.database_url):
        locked = site.create(name=NAME, email="other." + EMAIL, phone_number=PHONE, custom_1=CUSTOM)
    run_sql(server.database_url, "ALTER TABLE contacts RENAME TO contacts_gone")
    broken = [
        site.create(name=NAME, email="third." + EMAIL, phone_number=PHONE, custom_1=CUSTOM),
        site.client.get(f"/v1/contacts?filter[email]={quote(EMAIL)}&filter[search]={SEARCHED}"),
        site.client.get(f"/v1/contacts?filter[name_contains]={quote(NAME)}"),
    ]
    return [locked.status, *(reply.status for reply in broken)]


def written(server: RunningServer) -> str:
    """Return everything that a stopped server wrote, the greeting on standard output excepted."""
    assert server.process.stdout is not None
    said = server.process.stdout.read()
    assert server.stop() == 0
    return said + server.log.read_text()


@pytest.mark.parametrize("style", ["json", "plain", "color"])
def test_nothing_that_clients_send_or_get_is_in_the_log(serve: Serve, style: str) -> None:
    server = serve(ROLLBOOK_LOG_LEVEL="debug", ROLLBOOK_LOG_FORMAT=style)
    site = server.new_site()
    assert good_requests(site) == [201] + [200] * 6
    assert bad_requests(server, site) == [
        422,
        422,
        404,
        400,
        400,
        413,
        404,
        404,
        400,
        404,
        401,
        401,
        401,
        401,
    ]
    statuses, tokens = token_requests(site)
    assert statuses == [200, 200, 401, 401, 401, 400, 400, 400, 401, 400, 200, 200]
    misuse_the_wire(server, site)
    failed = fail_for_want_of_storage(server, site)
    assert all(status in {500, 503} for status in failed), failed
    assert failed[0] == 503
    for client in server.clients:
        client.close()
    server.process.terminate()
    text = written(server)
    # The log has lines of what happened: requests answered, refused and failed.
    assert text.count("request_answered") >= 30
    assert "connection_refused" in text
    assert "storage_unavailable" in text or "request_failed" in text
    secrets = {*WORDS, *tokens, site.client_secret, site.client_id}
    found = {word for word in secrets for spelling in spellings(word) if spelling in text}
    assert found == set()


def test_secret_of_the_first_start_is_told_once_and_not_logged(serve: Serve, tmp_path: Path) -> None:
    first = serve(ROLLBOOK_LOG_LEVEL="debug")
    secret = next(
        word for word in first.greeting.replace("'", " ").replace('"', " ").split() if is_secret(word)
    )
    first.stop()
    again = serve(ROLLBOOK_LOG_LEVEL="debug")
    wait_until(lambda: "server_started" in again.log.read_text(), 10)
    assert secret not in again.greeting
    assert secret not in first.log.read_text() + again.log.read_text()


def is_secret(word: str) -> bool:
    """Say whether a word is a client secret: 256 bits in hexadecimal."""
    found: Any = word.rpartition("=")[2].strip(",;&)\\")
    return len(found) == 64 and all(digit in "0123456789abcdef" for digit in found)


def test_secrets_are_not_in_the_database_as_they_stand(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    site = server.new_site()
    _, tokens = token_requests(site)
    server.stop()
    kept = content(server.database_url)
    assert site.client_id.encode() in kept
    assert [secret for secret in (*tokens, site.client_secret) if secret.encode() in kept] == []
