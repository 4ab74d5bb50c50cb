"""Proves contract 2.13: the limit is off by default; on, every answer says how much is left, and 429 how long to wait."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple
from urllib.parse import urlencode

import pytest

from support import Reply, RunningServer, SiteWorld, start_server, wait_until

QUOTA = 40
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
F15 = {
    "errors": [
        {"status": "429", "source": None, "title": "Too Many Requests", "detail": "Rate limit exceeded"},
    ]
}


class Told(NamedTuple):
    """What an answer says of the limit: the quota, what remains of it, and the seconds until there is more."""

    quota: int
    remaining: int
    seconds: int


def told(reply: Reply) -> Told:
    """Read the fields of an answer by the draft's grammar: a list of one string with its parameters."""
    policy = re.fullmatch(r'"default";q=(\d+);w=60', reply.headers["ratelimit-policy"])
    limit = re.fullmatch(r'"default";r=(\d+);t=(\d+)', reply.headers["ratelimit"])
    assert policy, reply.headers
    assert limit, reply.headers
    return Told(int(policy[1]), int(limit[1]), int(limit[2]))


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with a limit; each test has a window of its own, by a token of its own."""
    running = start_server(tmp_path_factory.mktemp("limited") / "rollbook.db", ROLLBOOK_RATE_LIMIT=str(QUOTA))
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def world(limited: RunningServer) -> SiteWorld:
    return limited.new_site()


def test_by_default_nothing_is_limited_and_nothing_is_said_of_limits(server: RunningServer) -> None:
    client = server.client("nobody, off")
    replies = [client.get("/v1/sites") for _ in range(300)]
    assert Counter(reply.status for reply in replies) == {401: 300}
    assert not any(name.startswith(("ratelimit", "x-ratelimit")) for name in replies[-1].headers)


def test_each_answer_counts_down_to_the_429_and_its_seconds_are_those_of_retry_after(
    limited: RunningServer,
) -> None:
    client = limited.new_site().client
    answers = [client.get("/v1/sites") for _ in range(QUOTA)]
    assert {reply.status for reply in answers} == {200}
    counted = [told(reply) for reply in answers]
    assert [each.quota for each in counted] == [QUOTA] * QUOTA
    assert [each.remaining for each in counted] == list(reversed(range(QUOTA)))
    assert counted[0].seconds == 60
    assert all(1 <= later.seconds <= earlier.seconds for earlier, later in pairwise(counted))
    for _ in range(2):
        refused = client.get("/v1/sites")
        assert (refused.status, refused.json) == (429, F15)
        assert refused.headers["content-type"] == "application/vnd.api+json"
        assert told(refused)[:2] == (QUOTA, 0)
        assert int(refused.headers["retry-after"]) == told(refused).seconds


def test_answers_of_every_kind_carry_the_fields(limited: RunningServer, world: SiteWorld) -> None:
    client = limited.client(world.token)
    made = client.post("/v1/contacts", world.document(email="ines@example.test"))
    own = f"/v1/contacts/{made.json['data']['id']}"
    reader = limited.client("no token of this server")
    kinds = [
        (201, made),
        (200, client.get(own)),
        (200, client.get("/v1/contacts")),
        (200, client.request("HEAD", own)),
        (304, client.get(own, headers={"If-None-Match": client.get(own).headers["etag"]})),
        (400, client.post("/v1/contacts", body=b"x")),
        (404, client.get("/v1/contacts/1")),
        (404, client.get("/v1/nothing")),
        (404, client.request("PUT", own)),
        (413, client.post("/v1/contacts", body=b" " * 1_048_577)),
        (422, client.post("/v1/contacts", world.document(email="ines@example.test"))),
        (401, reader.get(own)),
        (404, reader.get("/nothing")),
        (200, reader.get("/v1/version")),
        (200, reader.get("/livez")),
        (200, reader.get("/docs")),
        (200, reader.get("/openapi.json")),
        (200, client.request("DELETE", own)),
    ]
    for status, reply in kinds:
        assert reply.status == status
        assert told(reply).quota == QUOTA
    remaining = [told(reply).remaining for _, reply in kinds]
    assert len(set(remaining[:11])) == 11, "each of them counted once"


def test_the_token_endpoint_counts_by_address_and_says_so(serve: Callable[..., RunningServer]) -> None:
    server = serve(ROLLBOOK_RATE_LIMIT="60")
    # The server was asked before whether it lives, from the same address.
    before = told(server.client().get("/v1/version")).remaining
    world = server.new_site()
    credentials = {"client_id": world.client_id, "client_secret": world.client_secret}
    good = {"grant_type": "client_credentials", **credentials}
    asked = [
        (200, server.client().post("/v1/oauth/token", body=urlencode(good), headers=FORM)),
        (200, server.client().post("/oauth/token", good)),
        (401, server.client().post("/v1/oauth/token", good | {"client_secret": "wrong"})),
        (400, server.client().post("/v1/oauth/token", {})),
    ]
    assert [reply.status for _, reply in asked] == [status for status, _ in asked]
    # The site's own token was one more.
    assert [told(reply).remaining for _, reply in asked] == [before - count for count in (2, 3, 4, 5)]
    revoked = world.client.post("/v1/oauth/revoke", {"token": json.loads(asked[0][1].body)["access_token"]})
    assert (revoked.status, revoked.body, told(revoked).remaining) == (200, b"", 59)
    client = server.client()
    while (reply := client.post("/v1/oauth/token", {})).status == 400:
        assert told(reply).remaining >= 0
    assert reply.status == 429
    assert told(reply) == (60, 0, int(reply.headers["retry-after"]))
    assert world.client.get("/v1/sites").status == 200, "a token has a window of its own"


def test_other_authorization_headers_give_no_further_tries_at_the_token_endpoint(
    serve: Callable[..., RunningServer],
) -> None:
    server = serve(ROLLBOOK_RATE_LIMIT="10")
    client = server.client()
    wrong = {"grant_type": "client_credentials", "client_id": "x", "client_secret": "y"}
    headers = [
        {"Authorization": f"{scheme} guess{number}"} for number in range(10) for scheme in ("Bearer", "Basic")
    ]
    statuses = Counter(client.post("/v1/oauth/token", wrong, headers=each).status for each in headers)
    assert set(statuses) == {401, 429}
    assert statuses[401] <= 10


def test_tokens_that_are_none_count_by_their_address_and_end_no_token(
    serve: Callable[..., RunningServer],
) -> None:
    server = serve(ROLLBOOK_RATE_LIMIT="10")
    world = server.new_site()
    assert told(world.client.get("/v1/sites")).remaining == 9
    made_up = [server.client().get("/v1/sites", token=f"guess{number}") for number in range(12)]
    assert [reply.status for reply in made_up] == [401] * 10 + [429] * 2
    assert [told(reply).remaining for reply in made_up] == [*reversed(range(10)), 0, 0]
    assert all(reply.headers["ratelimit"].count("r=") == 1 for reply in made_up)
    assert told(world.client.get("/v1/sites")).remaining == 8
    # Nor do they take from their address what others ask there, without a token or with a new one.
    new = server.client(server.token(world.client_id, world.client_secret)).get("/v1/sites")
    assert (new.status, told(new).remaining) == (200, 9)


def test_a_token_that_has_ended_counts_by_its_address(serve: Callable[..., RunningServer]) -> None:
    server = serve(ROLLBOOK_RATE_LIMIT="10")
    world = server.new_site()
    assert told(world.client.get("/v1/sites")).remaining == 9
    revoked = world.client.post("/v1/oauth/revoke", {"token": world.token})
    assert (revoked.status, told(revoked).remaining) == (200, 8)
    assert told(server.client("made up").get("/v1/sites")).remaining == 9
    ended = world.client.get("/v1/sites")
    assert (ended.status, told(ended).remaining) == (401, 8)


def test_a_token_has_one_quota_however_its_header_is_written(serve: Callable[..., RunningServer]) -> None:
    server = serve(ROLLBOOK_RATE_LIMIT="10")
    world = server.new_site()
    written = [f"{scheme}{' ' * blanks}{world.token}" for scheme in ("Bearer", "bearer") for blanks in (1, 3)]
    replies = [server.client().get("/v1/sites", headers={"Authorization": each}) for each in written]
    assert [(reply.status, told(reply).remaining) for reply in replies] == [
        (200, left) for left in (9, 8, 7, 6)
    ]


@pytest.mark.parametrize("status", [200, 401], ids=["a token", "tokens that are none"])
def test_requests_at_once_get_the_quota_between_them_and_no_more(
    serve: Callable[..., RunningServer], status: int
) -> None:
    server = serve(ROLLBOOK_RATE_LIMIT=str(QUOTA))
    token = server.new_site().token

    def ask(number: int) -> list[Reply]:
        client = server.client(token)
        return [
            client.get("/v1/sites", token=token if status == 200 else f"made up {number} {at}")
            for at in range(QUOTA // 8 + 3)
        ]

    with ThreadPoolExecutor(8) as threads:
        replies = [reply for part in threads.map(ask, range(8)) for reply in part]
    admitted = [told(reply).remaining for reply in replies if reply.status == status]
    assert sorted(admitted) == list(range(QUOTA))
    refused = [reply for reply in replies if reply.status != status]
    assert len(refused) == 24
    assert {(reply.status, told(reply).remaining) for reply in refused} == {(429, 0)}


def test_the_seconds_pass_and_at_their_end_the_quota_is_whole_again(
    limited: RunningServer, pytestconfig: pytest.Config
) -> None:
    client = limited.new_site().client
    assert told(client.get("/v1/sites")).seconds == 60
    for _ in range(QUOTA - 1):
        assert client.get("/v1/sites").status == 200
    wait_until(lambda: told(client.get("/v1/sites")).seconds <= 58, 30)
    assert client.get("/v1/sites").status == 429
    if pytestconfig.getoption("--soak"):
        wait_until(lambda: client.get("/v1/sites").status == 200, 70)
        assert told(client.get("/v1/sites")) == (QUOTA, QUOTA - 2, 60)
