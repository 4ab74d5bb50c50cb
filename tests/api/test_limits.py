"""What the rate limit remembers of clients: little of each, and the latest."""

import time
import tracemalloc

import pytest

from rollbook.api import limits
from rollbook.api.http import Request
from rollbook.api.limits import RateLimit
from rollbook.jsonapi.errors import Refusal, refuse

pytestmark = pytest.mark.sqlite  # or without any database


def request(token: str, address: str = "192.0.2.1") -> Request:
    return Request("GET", "/v1/sites", b"", {b"authorization": b"Bearer " + token.encode()}, address, 1_000)


def remaining(limit: RateLimit, token: str) -> int:
    """Count a request with a token that is one; return what its answer says is left."""
    asked = request(token)
    limit.admit(asked)
    headers = dict(asked.answer_headers)
    return int(headers[b"ratelimit"].partition(b"r=")[2].partition(b";")[0])


def test_nothing_is_kept_of_tokens_that_are_none_however_long_and_many_they_are() -> None:
    limit = RateLimit(100_000)
    tracemalloc.start()
    for number in range(1_000):
        asked = request(f"{number:032000}", f"192.0.2.{number % 10}")
        limit.admit(asked)
        assert limit.judged(refuse(Refusal.TOKEN_INVALID), asked).status == 401
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 50_000


def test_made_up_tokens_have_the_limit_of_their_address_and_take_it_from_no_token_there() -> None:
    limit = RateLimit(10)
    statuses = []
    for number in range(11):
        asked = request(f"guess{number}")
        limit.admit(asked)
        statuses.append(limit.judged(refuse(Refusal.TOKEN_INVALID), asked).status)
    assert statuses == [401] * 10 + [429]
    assert remaining(limit, "one that is a token") == 9


def test_where_more_clients_come_than_are_remembered_the_oldest_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MOST_COUNTED", 3)
    limit = RateLimit(10)
    for token in ("a", "b", "c"):
        assert [remaining(limit, token) for _ in range(2)] == [9, 8]
    assert remaining(limit, "d") == 9
    assert [remaining(limit, token) for token in ("b", "c", "d")] == [7, 7, 8]
    assert remaining(limit, "a") == 9


def test_a_client_whose_window_begins_anew_is_not_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_COUNTED", 2)
    limit = RateLimit(10)
    now = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert [remaining(limit, token) for token in ("a", "b")] == [9, 9]
    now += limits.WINDOW_SECONDS
    assert remaining(limit, "a") == 9
    assert remaining(limit, "c") == 9
    assert remaining(limit, "a") == 8
