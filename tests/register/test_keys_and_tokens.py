"""Proves what keys and tokens give access to, what ends them, and that only hashes of them are kept."""

import hashlib
import time
from datetime import datetime
from typing import Any

import pytest
from register.house import ask

from databases import content
from rollbook.register import keys, sites, tokens, users
from rollbook.register.callers import PERMISSIONS, Caller
from rollbook.storage.database import Database


@pytest.fixture
def owned(database: Database) -> Database:
    """A register with an owner."""
    with database.transaction() as transaction:
        users.create_owner(transaction, name="Mira Vance", email="mira@example.test")
    return database


def make(database: Database, *seen: int, permissions: tuple[str, ...] = ()) -> keys.Key:
    with database.transaction() as transaction:
        return keys.create(transaction, name="Test", site_ids=seen, permissions=permissions)


def grant(database: Database, client_id: str, secret: str | None) -> tokens.Pair | tokens.GrantRefused:
    with database.transaction() as transaction:
        return tokens.grant_many(transaction, [tokens.Credentials(client_id, secret or "")])[0]


def pair(database: Database, key: keys.Key) -> tokens.Pair:
    granted = grant(database, key.client_id, key.client_secret)
    assert isinstance(granted, tokens.Pair)
    return granted


def refresh(database: Database, *given: str) -> list[tokens.Pair | tokens.GrantRefused]:
    with database.transaction() as transaction:
        return tokens.refresh_many(transaction, list(given))


def who(database: Database, access_token: str) -> Caller | None:
    with database.snapshot() as snapshot:
        return tokens.caller_of(snapshot, access_token)


def listed(database: Database) -> list[keys.Key]:
    with database.snapshot() as snapshot:
        return keys.everything(snapshot)


def test_a_key_without_an_owner_is_refused_with_what_to_do(database: Database) -> None:
    with pytest.raises(keys.KeyRefused, match="rollbook serve"):
        make(database)
    assert listed(database) == []


def test_a_key_for_everything_sees_sites_to_come(owned: Database) -> None:
    key = make(owned)
    token = pair(owned, key).access_token
    assert (key.sites, key.permissions) == ((1, 2, 3), PERMISSIONS)
    with owned.transaction() as transaction:
        sites.create(transaction, title=None, subdomain=None, site_id=9)
    found = who(owned, token)
    assert found is not None
    assert found.sites == {1, 2, 3, 9}
    assert found.permissions == set(PERMISSIONS)
    assert listed(owned)[0].sites == (1, 2, 3, 9)


def test_a_key_for_some_sees_and_may_no_more(owned: Database) -> None:
    key = make(owned, 3, 1, 3, permissions=("view:contacts",))
    assert (key.sites, key.permissions) == ((1, 3), ("view:contacts",))
    with owned.transaction() as transaction:
        sites.create(transaction, title=None, subdomain=None, site_id=9)
    found = who(owned, pair(owned, key).access_token)
    assert found is not None
    assert (found.key_id, sorted(found.sites), list(found.permissions)) == (key.id, [1, 3], ["view:contacts"])
    assert (found.may("view:contacts"), found.may("edit:contacts")) == (True, False)


@pytest.mark.parametrize(
    ("seen", "permissions", "words"),
    [((1, 4), (), "There is no site 4"), ((), ("fly",), "There is no permission 'fly'"), ((0,), (), "There is no site 0")],
)  # fmt: skip
def test_a_key_for_what_does_not_exist_is_refused(
    owned: Database, seen: tuple[int, ...], permissions: tuple[str, ...], words: str
) -> None:
    with pytest.raises(keys.KeyRefused, match=words):
        make(owned, *seen, permissions=permissions)
    assert listed(owned) == []


def test_a_secret_is_told_when_it_is_made_and_never_again(owned: Database) -> None:
    key = make(owned)
    assert key.client_secret is not None
    assert len(bytes.fromhex(key.client_secret)) == 32
    assert [each.client_secret for each in listed(owned)] == [None]
    assert listed(owned)[0].client_id == key.client_id


def test_only_hashes_of_secrets_and_tokens_are_in_the_files(owned: Database) -> None:
    key = make(owned)
    granted = pair(owned, key)
    kept = content(owned.engine.name)
    for secret in (key.client_secret, granted.access_token, granted.refresh_token):
        assert secret is not None
        assert secret.encode() not in kept
        assert hashlib.sha256(secret.encode()).hexdigest().encode() in kept


@pytest.mark.parametrize(
    "change", [str.upper, lambda text: text[:-1], lambda text: text + " ", lambda _: "", lambda _: "\0"]
)
def test_only_the_whole_secret_of_that_client_id_gets_a_pair(owned: Database, change: Any) -> None:
    key, other = make(owned), make(owned)
    assert isinstance(grant(owned, key.client_id, change(key.client_secret)), tokens.GrantRefused)
    assert isinstance(grant(owned, key.client_id + "0", key.client_secret), tokens.GrantRefused)
    assert isinstance(grant(owned, other.client_id, key.client_secret), tokens.GrantRefused)
    assert ask(owned, "SELECT count(*) FROM tokens") == [(0,)]


def test_a_batch_of_grants_is_answered_item_by_item(owned: Database) -> None:
    key = make(owned)
    assert key.client_secret is not None
    good = tokens.Credentials(key.client_id, key.client_secret)
    with owned.transaction() as transaction:
        answers = tokens.grant_many(transaction, [good, tokens.Credentials("x", "y"), good])
    assert [isinstance(answer, tokens.Pair) for answer in answers] == [True, False, True]
    all_tokens = {
        each for answer in answers if isinstance(answer, tokens.Pair) for each in (answer.access_token, answer.refresh_token)
    }  # fmt: skip
    assert len(all_tokens) == 4


def test_an_access_token_lasts_two_hours_and_a_refresh_token_thirty_days(owned: Database) -> None:
    granted = pair(owned, make(owned))
    found = who(owned, granted.access_token)
    assert found is not None
    (ends,) = ask(owned, "SELECT access_expires_at, refresh_expires_at FROM tokens")
    access, both = (datetime.fromisoformat(each).timestamp() for each in ends)
    assert 7_190 <= access - time.time() <= 7_201
    assert 30 * 86_400 - 10 <= both - time.time() <= 30 * 86_400 + 1
    assert abs(found.expires - access) < 1


def test_a_refresh_token_works_once_and_leaves_the_old_access_token_alive(owned: Database) -> None:
    first = pair(owned, make(owned))
    second, again = refresh(owned, first.refresh_token, first.refresh_token)
    assert isinstance(second, tokens.Pair)
    assert isinstance(again, tokens.GrantRefused)
    assert who(owned, first.access_token) is not None
    assert who(owned, second.access_token) is not None
    assert isinstance(refresh(owned, second.refresh_token)[0], tokens.Pair)


def test_an_access_token_refreshes_nothing_and_a_refresh_token_opens_nothing(owned: Database) -> None:
    granted = pair(owned, make(owned))
    assert isinstance(refresh(owned, granted.access_token)[0], tokens.GrantRefused)
    assert who(owned, granted.refresh_token) is None
    assert who(owned, "") is None


def test_an_expired_refresh_token_is_refused(owned: Database) -> None:
    granted = pair(owned, make(owned))
    ask(owned, "UPDATE tokens SET refresh_expires_at = '2026-01-01T00:00:00.000Z'")
    assert isinstance(refresh(owned, granted.refresh_token)[0], tokens.GrantRefused)


def test_what_has_expired_is_cleared_away_by_the_next_grant_of_the_key(owned: Database) -> None:
    key, other = make(owned), make(owned)
    for _ in range(3):
        pair(owned, key)
    pair(owned, other)
    ask(
        owned,
        "UPDATE tokens SET access_expires_at = '2026-01-01T00:00:00.000Z', refresh_expires_at = '2026-01-01T00:00:00.000Z'",
    )
    fresh = pair(owned, key)
    assert who(owned, fresh.access_token) is not None
    assert ask(owned, "SELECT count(*) FROM tokens WHERE key_id = ?", key.id) == [(1,)]
    assert ask(owned, "SELECT count(*) FROM tokens WHERE key_id = ?", other.id) == [(1,)]


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
def test_either_token_revokes_its_pair_and_no_other(owned: Database, which: str) -> None:
    key = make(owned)
    ended, alive = pair(owned, key), pair(owned, key)
    with owned.transaction() as transaction:
        tokens.revoke_many(transaction, ["unknown", getattr(ended, which)])
    assert who(owned, ended.access_token) is None
    assert isinstance(refresh(owned, ended.refresh_token)[0], tokens.GrantRefused)
    assert who(owned, alive.access_token) is not None


@pytest.mark.parametrize("by", ["id", "client_id"])
def test_rotating_gives_a_new_secret_and_ends_every_token(owned: Database, by: str) -> None:
    key, other = make(owned, 2, permissions=("view:contacts",)), make(owned)
    granted, alive = pair(owned, key), pair(owned, other)
    with owned.transaction() as transaction:
        rotated = keys.rotate(transaction, str(getattr(key, by)))
    assert (rotated.id, rotated.client_id, rotated.sites) == (key.id, key.client_id, (2,))
    assert rotated.client_secret != key.client_secret
    assert isinstance(grant(owned, key.client_id, key.client_secret), tokens.GrantRefused)
    assert who(owned, granted.access_token) is None
    assert isinstance(refresh(owned, granted.refresh_token)[0], tokens.GrantRefused)
    assert who(owned, pair(owned, rotated).access_token) is not None
    assert who(owned, alive.access_token) is not None


@pytest.mark.parametrize("by", ["id", "client_id"])
def test_deleting_ends_a_key_with_its_tokens_and_sites(owned: Database, by: str) -> None:
    key, other = make(owned, 2), make(owned, 2)
    granted, alive = pair(owned, key), pair(owned, other)
    with owned.transaction() as transaction:
        assert keys.remove(transaction, str(getattr(key, by))).id == key.id
    assert who(owned, granted.access_token) is None
    assert isinstance(grant(owned, key.client_id, key.client_secret), tokens.GrantRefused)
    assert ask(owned, "SELECT key_id FROM key_sites") == [(other.id,)]
    assert ask(owned, "SELECT key_id FROM tokens") == [(other.id,)]
    assert who(owned, alive.access_token) is not None


@pytest.mark.parametrize("which", ["", "1", "nobody", "'; DROP TABLE keys; --"])
def test_an_unknown_key_is_neither_rotated_nor_deleted(owned: Database, which: str) -> None:
    key = make(owned)
    for change in (keys.rotate, keys.remove):
        with pytest.raises(keys.KeyRefused, match="There is no key"):
            try_change(owned, change, which)
    assert who(owned, pair(owned, key).access_token) is not None


def try_change(database: Database, change: Any, which: str) -> None:
    with database.transaction() as transaction:
        change(transaction, which)


def test_names_of_keys_may_be_any_text_and_equal(owned: Database) -> None:
    with owned.transaction() as transaction:
        for name in ("日本", "日本", "", "a\nb"):
            keys.create(transaction, name=name)
    assert [key.name for key in listed(owned)] == ["日本", "日本", "", "a\nb"]


@pytest.mark.parametrize(
    ("name", "initials"), [("Mira Vance", "MV"), ("mira van der berg", "MV"), ("Mira", "M"), ("", ""), ("  ", ""), ("ß", "SS")]
)  # fmt: skip
def test_the_initials_of_a_user_are_those_of_the_first_two_names(name: str, initials: str) -> None:
    assert users.User(1, name, "a@b.c", "OWNER").attributes() == {
        "initials": initials, "name": name, "email": "a@b.c", "role_level": "OWNER",
    }  # fmt: skip
