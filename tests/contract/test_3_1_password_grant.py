"""Proves the password grant of contract 3.1: off by default; on, what gives tokens, what they open, what ends them."""

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest

from databases import content, run_sql
from rollbook.api.passwords import MOST_WAITING, PasswordDesk
from rollbook.jsonapi.errors import Refused
from rollbook.register import passwords, users
from rollbook.register.callers import PERMISSIONS
from rollbook.storage.opening import open_database
from support import Reply, RunningServer, feed_rollbook, run_rollbook, start_server, wait_until

FORM = "application/x-www-form-urlencoded"
WRONG = (401, {"error": "Invalid username or password"})
MISSING = (400, {"error": "Missing required parameters"})
UNSUPPORTED = (400, {"error": "Unsupported grant type"})
DEAD = "Access token is invalid or has expired"


@dataclass(frozen=True)
class Login:
    """A user of one test's own."""

    id: int
    email: str
    password: str

    def given(self, **change: str) -> dict[str, str]:
        return {"username": self.email, "password": self.password} | change


@pytest.fixture(scope="module")
def taking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that takes passwords; each test has users of its own on it."""
    running = start_server(tmp_path_factory.mktemp("passwords") / "rollbook.db", ROLLBOOK_PASSWORD_GRANT="on")
    yield running
    assert running.stop() == 0


@pytest.fixture
def login(taking: RunningServer) -> Login:
    return new_user(taking)


numbers = itertools.count(1)


def new_user(server: RunningServer, password: str | None = "correct horse, staple") -> Login:
    """Make a user beside the running server, with a password or without."""
    email = f"Mira.Vance{next(numbers)}@Example.test"
    database = open_database(server.database_url)
    try:
        with database.transaction() as transaction:
            user_id = users.create_owner(transaction, name="Mira Vance", email=email)
            if password is not None:
                passwords.change(transaction, email, passwords.hash_of(password))
    finally:
        database.close()
    return Login(user_id, email, password or "")


def ask(server: RunningServer, given: dict[str, str], path: str = "/v1/oauth/token") -> Reply:
    return server.client().post(path, body=urlencode(given), headers={"Content-Type": FORM})


def granted(reply: Reply) -> dict[str, Any]:
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json"), reply
    assert reply.headers["cache-control"] == "no-store"
    document: dict[str, Any] = reply.json
    assert set(document) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (document["token_type"], document["expires_in"]) == ("Bearer", 7200)
    assert len({document["access_token"], document["refresh_token"], ""}) == 3
    return document


def works(server: RunningServer, token: str) -> bool:
    reply = server.client(token).get("/v1/me")
    assert reply.status == 200 or reply.json["errors"][0]["detail"] == DEAD
    return reply.status == 200


def keys_of(server: RunningServer, user: Login) -> list[tuple[Any, ...]]:
    return run_sql(
        server.database_url, "SELECT id, name, all_sites FROM keys WHERE user_id = ? ORDER BY id", user.id
    )


def on(server: RunningServer, *arguments: str) -> Any:
    done = run_rollbook(*arguments, "--json", ROLLBOOK_DATABASE=server.database_url)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_is_off_by_default_even_for_the_right_password(server: RunningServer) -> None:
    user = new_user(server)
    for more in ({}, {"grant_type": "password"}):
        reply = ask(server, user.given() | more)
        assert (reply.status, reply.json) == UNSUPPORTED
    assert keys_of(server, user) == []


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/oauth/token", {}),
        ("/v1/oauth/token", {"grant_type": "password"}),
        ("/v1/oauth/token", {"grant_type": "", "scope": ""}),
        ("/api/v1/oauth/token", {"grant_type": "password"}),
        ("/oauth/token", {}),
    ],
)
def test_the_right_password_gives_a_pair_with_and_without_grant_type(
    taking: RunningServer, login: Login, path: str, more: dict[str, str]
) -> None:
    assert works(taking, granted(ask(taking, login.given() | more, path))["access_token"])


def test_json_and_multipart_bodies_are_taken_too(taking: RunningServer) -> None:
    user = new_user(taking, "ünverwüstlich & 100% + ok")
    granted(taking.client().post("/v1/oauth/token", user.given()))
    parts = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in user.given().items()
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    granted(taking.client().post("/v1/oauth/token", body=parts + "--b--\r\n", headers=headers))
    granted(ask(taking, user.given()))


@pytest.mark.parametrize("change", [str.lower, str.upper])
def test_the_user_name_is_the_e_mail_in_any_case(
    taking: RunningServer, login: Login, change: Callable[[str], str]
) -> None:
    pair = granted(ask(taking, login.given(username=change(login.email))))
    shown = taking.client(pair["access_token"]).get("/v1/me").json["data"]
    assert (shown["id"], shown["attributes"]["email"]) == (str(login.id), login.email)


def test_wrong_ones_are_refused_alike_whatever_is_wrong(taking: RunningServer, login: Login) -> None:
    other, without = new_user(taking, "another password"), new_user(taking, None)
    for given in (
        login.given(password="wrong password"),
        login.given(password=login.password.upper()),
        login.given(password=login.password + " "),
        login.given(password=login.password[:-1]),
        login.given(password=other.password),
        login.given(username="nobody@example.test"),
        login.given(username=login.email + ".test"),
        login.given(username=str(login.id)),
        login.given(username="Mira Vance"),
        {"username": without.email, "password": "anything at all"},
        {"username": "nobody@example.test", "password": "wrong", "grant_type": "password"},
    ):
        reply = ask(taking, given)
        assert (reply.status, reply.json) == WRONG, given
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers["cache-control"] == "no-store"
    assert [keys_of(taking, user) for user in (login, other, without)] == [[], [], []]


@pytest.mark.parametrize(
    "given",
    [
        {"grant_type": "password"},
        {"grant_type": "password", "username": "mira@example.test"},
        {"grant_type": "password", "password": "correct horse, staple"},
        {"grant_type": "password", "username": "", "password": ""},
        {"grant_type": "password", "username": "mira@example.test", "password": ""},
        {"username": "mira@example.test"},
        {"password": "correct horse, staple"},
    ],
)
def test_missing_parameters_are_told(taking: RunningServer, given: dict[str, str]) -> None:
    reply = ask(taking, given)
    assert (reply.status, reply.json) == MISSING


def test_the_other_grants_are_as_they_are_without_it(taking: RunningServer) -> None:
    site = taking.new_site()
    credentials = {"client_id": site.client_id, "client_secret": site.client_secret}
    pair = granted(ask(taking, {"grant_type": "client_credentials", **credentials}))
    granted(ask(taking, {"refresh_token": pair["refresh_token"]}))
    reply = ask(taking, {"grant_type": "authorization_code", "username": "a", "password": "b"})
    assert (reply.status, reply.json) == UNSUPPORTED


def test_the_token_speaks_for_the_user_with_all_sites_and_all_permissions(
    taking: RunningServer, login: Login
) -> None:
    client = taking.client(granted(ask(taking, login.given()))["access_token"])
    sites = [taking.new_site(), taking.new_site()]
    seen = {each["id"] for each in client.get("/v1/sites?page[size]=1000").json["data"]}
    assert {site.id for site in sites} <= seen, "sites made later are seen too"
    assert client.get("/v1/me").json["data"]["id"] == str(login.id)
    made = client.post("/v1/contacts", sites[0].document(email="ines@example.test"))
    assert made.status == 201
    own = f"/v1/contacts/{made.json['data']['id']}"
    assert [client.get(own).status, client.get("/v1/audit_events").status] == [200, 200]
    assert client.request("DELETE", own).status == 200
    assert client.post("/v1/sites", {"data": {"attributes": {"title": "By password"}}}).status == 201


def test_all_tokens_of_a_user_work_on_one_key_of_their_own_made_at_first_use(
    taking: RunningServer, login: Login
) -> None:
    other = new_user(taking)
    assert keys_of(taking, login) == []
    for _ in range(2):
        granted(ask(taking, login.given()))
    granted(ask(taking, other.given()))
    ((own, *described),) = keys_of(taking, login)
    assert described == ["Password grant", 1]
    assert len(keys_of(taking, other)) == 1
    (listed,) = [each for each in on(taking, "keys", "list") if each["id"] == str(own)]
    assert (listed["name"], listed["permissions"]) == ("Password grant", list(PERMISSIONS))
    assert listed["sites"] == [each["id"] for each in on(taking, "sites", "list")]


def test_deleting_the_key_ends_its_tokens_and_the_password_makes_another(
    taking: RunningServer, login: Login
) -> None:
    pair = granted(ask(taking, login.given()))
    ((old, *_),) = keys_of(taking, login)
    on(taking, "keys", "delete", str(old))
    assert not works(taking, pair["access_token"])
    assert ask(taking, {"refresh_token": pair["refresh_token"]}).status == 401
    assert works(taking, granted(ask(taking, login.given()))["access_token"])
    ((new, *_),) = keys_of(taking, login)
    assert new != old


def test_refreshing_and_revoking_are_as_with_any_token(taking: RunningServer, login: Login) -> None:
    first = granted(ask(taking, login.given()))
    second = granted(ask(taking, {"refresh_token": first["refresh_token"]}))
    assert works(taking, first["access_token"])
    reply = taking.client(second["access_token"]).post("/v1/oauth/revoke", {"token": second["refresh_token"]})
    assert (reply.status, reply.body) == (200, b"")
    assert [works(taking, pair["access_token"]) for pair in (first, second)] == [True, False]


def test_another_password_ends_the_tokens_of_the_old_one_and_no_others(
    taking: RunningServer, login: Login
) -> None:
    other, site = new_user(taking), taking.new_site()
    pair, foreign = granted(ask(taking, login.given())), granted(ask(taking, other.given()))
    renewed = granted(ask(taking, {"refresh_token": granted(ask(taking, login.given()))["refresh_token"]}))
    line = b"an entirely new password\n"
    command = ("users", "password", login.email, "--stdin")
    done = feed_rollbook(line, *command, ROLLBOOK_DATABASE=taking.database_url)
    assert done.returncode == 0, done.stderr
    for dead in (pair, renewed):
        assert not works(taking, dead["access_token"])
        assert ask(taking, {"refresh_token": dead["refresh_token"]}).status == 401
    old = ask(taking, login.given())
    assert (old.status, old.json) == WRONG
    assert works(
        taking, granted(ask(taking, login.given(password="an entirely new password")))["access_token"]
    )
    assert works(taking, foreign["access_token"])
    assert works(taking, site.token)


def test_an_unknown_user_costs_as_much_time_as_a_wrong_password(taking: RunningServer, login: Login) -> None:
    without = new_user(taking, None)
    cases = {
        "wrong password": login.given(password="wrong password"),
        "unknown user": login.given(username="nobody@example.test"),
        "no password": login.given(username=without.email),
    }
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _, (name, given) in itertools.product(range(3), cases.items()):
        began = time.perf_counter()
        assert ask(taking, given).status == 401
        taken[name].append(time.perf_counter() - began)
    quickest = {name: min(each) for name, each in taken.items()}
    # Without the check the answer would come a hundred times sooner; the rest is noise.
    for name in ("unknown user", "no password"):
        assert quickest[name] > 0.4 * quickest["wrong password"], quickest


def test_while_passwords_are_checked_others_read_and_write(taking: RunningServer, login: Login) -> None:
    site = taking.new_site()
    with ThreadPoolExecutor(8) as threads:
        began = [threads.submit(ask, taking, login.given(password=f"wrong {number}")) for number in range(8)]
        wait_until(lambda: any(each.done() for each in began), 30)
        assert site.create(email="ines@example.test").status == 201
        assert site.client.get("/v1/contacts").json["meta"]["total"] == 1
        # Two are checked at once, so what waits behind them had not had its turn when the others were answered.
        assert not all(each.done() for each in began)
        assert {each.result().status for each in began} == {401}


def test_more_checks_than_may_wait_are_refused_for_now() -> None:
    async def crowd() -> int | None:
        desk = PasswordDesk()
        waiting = [asyncio.ensure_future(desk.fits(None, "anything at all")) for _ in range(MOST_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Refused) as refused:
            await desk.fits(None, "one too many")
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)
        assert await desk.fits(None, "there is room again") is False
        assert refused.value.status == 503
        return refused.value.retry_after

    assert asyncio.run(crowd()) == 5


def test_neither_the_files_nor_the_log_have_a_password(serve: Callable[..., RunningServer]) -> None:
    server = serve(ROLLBOOK_PASSWORD_GRANT="on", ROLLBOOK_LOG_LEVEL="debug")
    user = new_user(server, "unmistakable-password")
    granted(ask(server, user.given()))
    assert ask(server, user.given(password="unmistakable-mistake")).status == 401
    granted(server.client().post("/v1/oauth/token", user.given()))
    server.stop()
    ((kept,),) = run_sql(server.database_url, "SELECT password_hash FROM users WHERE id = ?", user.id)
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    written = b"".join(path.read_bytes() for path in server.database.parent.iterdir())
    written += content(server.database_url)
    assert user.email.encode() in written
    assert b"request_answered" in written
    assert b"unmistakable" not in written


def test_the_description_of_the_token_call_has_the_grant(server: RunningServer) -> None:
    schema = server.client().get("/openapi.json").json["components"]["schemas"]["token_request"]["properties"]
    assert set(schema["grant_type"]["enum"]) == {"client_credentials", "refresh_token", "password"}
    assert {"username", "password"} <= set(schema)
