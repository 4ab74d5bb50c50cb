"""Proves cross-origin sharing: off by default; on, which origins may use what, and that nothing else is shared."""

from collections.abc import Iterator
from typing import Any

import pytest

from rollbook.settings import SettingError, Settings
from support import Client, Reply, RunningServer, SiteWorld, start_server

APP, LOCAL, OTHER = "https://app.example.test", "http://localhost:5173", "https://other.example.test"
SETTING = f"HTTPS://App.Example.test,  {LOCAL}"
METHODS = "GET, HEAD, POST, PATCH, DELETE"
HEADERS = "Authorization, Content-Type, Accept, Idempotency-Key, If-Match, If-None-Match, X-Request-Id"
EXPOSED = "Location, ETag, Idempotency-Replayed, Retry-After, RateLimit, RateLimit-Policy, X-Request-Id"


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that shares with two origins."""
    running = start_server(tmp_path_factory.mktemp("sharing") / "rollbook.db", ROLLBOOK_CORS_ORIGINS=SETTING)
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def world(sharing: RunningServer) -> SiteWorld:
    return sharing.new_site()


def words(text: str) -> set[str]:
    return {word.strip().lower() for word in text.split(",")}


def shared(reply: Reply) -> dict[str, str]:
    """Return what an answer says of sharing."""
    return {
        name: value
        for name, value in reply.headers.items()
        if name.startswith("access-control-") or name == "vary"
    }


def preflight(client: Client, path: str, origin: str, method: str = "POST", **more: Any) -> Reply:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    return client.request("OPTIONS", path, headers=headers, **more)


def test_when_off_nothing_is_shared_and_options_is_an_unknown_method(
    server: RunningServer, site: SiteWorld
) -> None:
    for origin in (APP, "null", f"http://127.0.0.1:{server.port}"):
        assert shared(site.client.get("/v1/contacts", headers={"Origin": origin})) == {}
        for path in ("/v1/contacts", "/v1/oauth/token", "/livez", "/nothing"):
            reply = preflight(site.client, path, origin)
            assert (reply.status, reply.json["errors"][0]["title"], shared(reply)) == (404, "Not Found", {})


PATHS = [
    *("/v1/contacts", "/v1/contacts/1", "/v1/contacts/1/relationships/tags", "/v1/contacts?page[size]=1"),
    *("/api/v1/contacts", "/v1/oauth/token", "/oauth/token", "/v1/oauth/revoke", "/v1/version", "/v1/me"),
    *("/livez", "/openapi.json", "/docs", "/", "/nothing/at/all"),
]


@pytest.mark.parametrize("path", PATHS)
def test_a_preflight_is_answered_on_any_path_without_a_token(sharing: RunningServer, path: str) -> None:
    client = sharing.client()
    for origin in (APP, LOCAL):
        for method in ("GET", "POST", "PATCH", "DELETE"):
            reply = preflight(client, path, origin, method)
            assert (reply.status, reply.body) == (204, b"")
            assert shared(reply) == {
                "access-control-allow-origin": origin,
                "access-control-allow-methods": METHODS,
                "access-control-allow-headers": HEADERS,
                "access-control-max-age": "86400",
                "vary": "Origin",
            }
            assert "content-type" not in reply.headers
            assert "content-length" not in reply.headers


STRANGERS = [
    *(OTHER, "null", "http://app.example.test", f"{APP}:443", f"{APP}:8443", f"{APP}/", f"{APP}.evil.test"),
    *("https://evil.test/https://app.example.test", "https://xapp.example.test", "http://localhost", "*", "", f"{APP} {LOCAL}"),
]  # fmt: skip


@pytest.mark.parametrize("origin", STRANGERS)
def test_an_origin_that_is_not_listed_is_allowed_nothing(
    sharing: RunningServer, world: SiteWorld, origin: str
) -> None:
    for reply in (
        preflight(sharing.client(), "/v1/contacts", origin),
        world.client.get("/v1/contacts", headers={"Origin": origin}),
        sharing.client().get("/v1/contacts", headers={"Origin": origin}),
        sharing.client().post("/v1/oauth/token", {}, headers={"Origin": origin}),
    ):
        # Caches must know that another origin gets another answer.
        assert shared(reply) == {"vary": "Origin"}


def assert_shared_with(origin: str, reply: Reply) -> None:
    told = shared(reply)
    assert words(told.pop("access-control-expose-headers")) == words(EXPOSED)
    assert told == {"access-control-allow-origin": origin, "vary": "Origin"}


@pytest.mark.parametrize("origin", [APP, LOCAL])
def test_answers_of_every_kind_are_shared_with_an_allowed_origin(
    sharing: RunningServer, world: SiteWorld, origin: str
) -> None:
    own = {"Origin": origin}
    client, nobody = world.client, sharing.client()
    site = sharing.new_site()
    made = client.post("/v1/contacts", world.document(email=f"{origin[-4:]}@x.test"), headers=own)
    path = f"/v1/contacts/{made.json['data']['id']}"
    unchanged = own | {"If-None-Match": client.get(path).headers["etag"]}
    credentials = {"client_id": site.client_id, "client_secret": site.client_secret}
    good = {"grant_type": "client_credentials", **credentials}
    for status, reply in (
        (201, made),
        (200, client.get(path, headers=own)),
        (200, client.request("HEAD", path, headers=own)),
        (304, client.get(path, headers=unchanged)),
        (400, client.post("/v1/contacts", body=b"x", headers=own)),
        (401, nobody.get(path, headers=own)),
        (404, client.get("/v1/contacts/1", headers=own)),
        (404, client.get("/v1/nothing", headers=own)),
        (413, client.post("/v1/contacts", body=b" " * 1_048_577, headers=own)),
        (422, client.post("/v1/contacts", world.document(email=f"{origin[-4:]}@x.test"), headers=own)),
        (200, nobody.post("/v1/oauth/token", good, headers=own)),
        (401, nobody.post("/v1/oauth/token", good | {"client_secret": "wrong"}, headers=own)),
        (400, nobody.post("/v1/oauth/token", {}, headers=own)),
        (200, client.post("/v1/oauth/revoke", {"token": "unknown"}, headers=own)),
        (200, nobody.get("/v1/version", headers=own)),
        (200, nobody.get("/openapi.json", headers=own)),
        (200, client.request("DELETE", path, headers=own)),
    ):
        assert reply.status == status
        assert_shared_with(origin, reply)


def test_without_an_origin_answers_are_as_ever_but_tell_caches_that_they_vary(world: SiteWorld) -> None:
    assert shared(world.client.get("/v1/contacts")) == {"vary": "Origin"}
    refused = world.client.request("OPTIONS", "/v1/contacts")
    assert (refused.status, shared(refused)) == (404, {"vary": "Origin"})


def test_a_preflight_with_a_body_leaves_the_connection_usable(
    sharing: RunningServer, world: SiteWorld
) -> None:
    client = sharing.client(world.token)
    for size in (1, 100_000):
        assert preflight(client, "/v1/contacts", APP, body=b"x" * size).status == 204
        assert client.get("/v1/contacts", headers={"Origin": APP}).status == 200


def test_an_asterisk_shares_with_all_and_still_without_credentials(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    running = start_server(
        tmp_path_factory.mktemp("open") / "rollbook.db", ROLLBOOK_CORS_ORIGINS="*", ROLLBOOK_RATE_LIMIT="2"
    )
    try:
        client = running.client("nobody")
        for origin in (APP, OTHER, "null"):
            asked = preflight(client, "/v1/contacts", origin)
            assert (asked.status, asked.headers["access-control-allow-origin"]) == (204, "*")
            assert "access-control-allow-credentials" not in asked.headers
        # Preflights were not counted; the two requests are, and the 429 can be read by the page.
        replies = [client.get("/v1/contacts", headers={"Origin": OTHER}) for _ in range(3)]
        assert [reply.status for reply in replies] == [401, 401, 429]
        for reply in replies:
            assert_shared_with("*", reply)
            assert {"ratelimit", "ratelimit-policy"} <= set(reply.headers)
        assert "retry-after" in replies[-1].headers
    finally:
        running.stop()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("*", "*"),
        (APP, APP),
        (f" {APP} , {LOCAL} ", f"{APP} {LOCAL}"),
        (f"{APP}\n{LOCAL}", f"{APP} {LOCAL}"),
        ("HTTPS://APP.example.TEST:8443", "https://app.example.test:8443"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("https://xn--grn-ioa.example.test", "https://xn--grn-ioa.example.test"),
    ],
)
def test_the_setting_takes_origins_as_browsers_send_them(text: str, value: str) -> None:
    assert Settings.read({"ROLLBOOK_CORS_ORIGINS": text}).cors_origins == value


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("app.example.test", "does not begin with a scheme such as https://"),
        ("null", "does not begin with a scheme such as https://"),
        ("1x://app.example.test", "does not begin with a scheme such as https://"),
        (f"{APP}/", "goes on after its host and port"),
        (f"{APP}/page", "goes on after its host and port"),
        (f"{APP}?a", "goes on after its host and port"),
        (f"{APP}#a", "goes on after its host and port"),
        ("https://mira@app.example.test", "has a user name"),
        ("https://grün.example.test", "has a host that is not in its ASCII form (xn--)"),
        ("https://*.example.test", "has no host, or not only a host and a port"),
        ("https://", "has no host, or not only a host and a port"),
        ("https://app..test", "has no host, or not only a host and a port"),
        ("https://app.example.test:", "has no host, or not only a host and a port"),
        ("https://app.example.test:0", "has no host, or not only a host and a port"),
        ("https://app.example.test:65536", "has no host, or not only a host and a port"),
        ("https://app.example.test:443", "names the port of its scheme, which browsers leave out"),
        ("http://app.example.test:80", "names the port of its scheme, which browsers leave out"),
        ("*", "allows all, and stands alone"),
    ],
)
def test_a_bad_origin_is_refused_with_which_and_why(bad: str, why: str) -> None:
    with pytest.raises(SettingError) as refused:
        Settings.read({"ROLLBOOK_CORS_ORIGINS": f"{LOCAL}, {bad}"})
    message = str(refused.value)
    assert message.startswith("ROLLBOOK_CORS_ORIGINS is ")
    assert message.endswith(f": {bad!r} {why}.")


def test_a_setting_without_any_origin_is_refused() -> None:
    with pytest.raises(SettingError, match="it names none"):
        Settings.read({"ROLLBOOK_CORS_ORIGINS": " , "})
