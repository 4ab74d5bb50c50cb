"""Proves what is kept of passwords, what fits it, and that a password changed meanwhile gives no tokens."""

import pytest
from argon2 import Type, extract_parameters

from rollbook.register import keys, passwords, sites, tokens, users
from rollbook.register.users import UserRefused
from rollbook.storage.database import Database

EMAIL = "Mira@Grün.example.test"
LONG = "correct horse, staple"


@pytest.fixture
def owned(database: Database) -> Database:
    """A register with an owner who has a password."""
    with database.transaction() as transaction:
        users.create_owner(transaction, name="Mira Vance", email=EMAIL)
    change(database, LONG)
    return database


def change(database: Database, password: str) -> users.User:
    with database.transaction() as transaction:
        return passwords.change(transaction, EMAIL, passwords.hash_of(password))


def owner(database: Database) -> users.User:
    with database.snapshot() as snapshot:
        return passwords.user(snapshot, EMAIL)


def grant(database: Database, *asked: users.User) -> list[tokens.Pair | tokens.GrantRefused]:
    with database.transaction() as transaction:
        return tokens.grant_to_users(transaction, list(asked))


def test_what_is_kept_is_an_argon2id_hash_of_its_own_salt_that_fits_this_password_alone() -> None:
    first, second = passwords.hash_of(LONG), passwords.hash_of(LONG)
    assert first != second
    for each in (first, second):
        found = extract_parameters(each)
        assert (found.type, found.memory_cost, found.time_cost, found.parallelism) == (Type.ID, 65_536, 3, 4)
        assert passwords.fits(each, LONG)
    for wrong in ("", LONG.upper(), LONG + "\0", LONG[:-1], first):
        assert not passwords.fits(first, wrong)


def test_what_is_checked_for_nobody_costs_as_much_as_a_real_hash_and_fits_nothing() -> None:
    assert extract_parameters(passwords.NOBODYS_HASH) == extract_parameters(passwords.hash_of(LONG))
    for password in ("", LONG, passwords.NOBODYS_HASH):
        assert not passwords.fits(None, password)


@pytest.mark.parametrize(
    ("password", "words"),
    [("", "has 0 characters"), ("é" * 11, "has 11 characters"), ("\udcff" * 12, "is not text in UTF-8")],
)
def test_a_password_that_cannot_be_is_refused(password: str, words: str) -> None:
    with pytest.raises(UserRefused, match=words):
        passwords.hash_of(password)
    assert passwords.fits(passwords.hash_of("é" * 12), "é" * 12)


@pytest.mark.parametrize("email", [EMAIL, EMAIL.lower(), EMAIL.upper(), "mira@xn--grn-ioa.example.test"])
def test_a_user_is_found_by_the_e_mail_in_any_spelling(owned: Database, email: str) -> None:
    with owned.snapshot() as snapshot:
        assert passwords.user(snapshot, email).email == EMAIL


def test_a_user_that_is_not_there_is_refused_and_nothing_changes(owned: Database) -> None:
    before = owner(owned)
    with pytest.raises(UserRefused, match=r"There is no user 'nobody@example\.test'"):
        with owned.transaction() as transaction:
            passwords.change(transaction, "nobody@example.test", passwords.hash_of(LONG))
    assert owner(owned) == before


def test_a_password_changed_while_the_old_one_was_checked_gives_no_tokens(owned: Database) -> None:
    checked = owner(owned)
    changed = change(owned, "an entirely new password")
    refused, given = grant(owned, checked, changed)
    assert isinstance(refused, tokens.GrantRefused)
    assert isinstance(given, tokens.Pair)
    (gone,) = grant(owned, changed._replace(id=changed.id + 1))
    assert isinstance(gone, tokens.GrantRefused)


def test_the_key_for_passwords_sees_sites_to_come_and_is_made_once(owned: Database) -> None:
    first, second = grant(owned, owner(owned), owner(owned))
    assert isinstance(first, tokens.Pair)
    assert isinstance(second, tokens.Pair)
    with owned.transaction() as transaction:
        sites.create(transaction, title=None, subdomain=None, site_id=9)
    with owned.snapshot() as snapshot:
        callers = [tokens.caller_of(snapshot, each.access_token) for each in (first, second)]
        (key,) = keys.everything(snapshot)
    for caller in callers:
        assert caller is not None
        assert (caller.key_id, caller.user_id) == (key.id, owner(owned).id)
        assert (sorted(caller.sites), caller.all_sites) == ([1, 2, 3, 9], True)
        assert caller.permissions == set(key.permissions)


def test_another_password_ends_these_tokens_and_leaves_those_of_other_keys(owned: Database) -> None:
    with owned.transaction() as transaction:
        key = keys.create(transaction, name="Test")
        assert key.client_secret is not None
        credentials = tokens.Credentials(key.client_id, key.client_secret)
        (other,) = tokens.grant_many(transaction, [credentials])
    (own,) = grant(owned, owner(owned))
    change(owned, "an entirely new password")
    assert isinstance(own, tokens.Pair)
    assert isinstance(other, tokens.Pair)
    with owned.snapshot() as snapshot:
        assert tokens.caller_of(snapshot, own.access_token) is None
        assert tokens.caller_of(snapshot, other.access_token) is not None
    with owned.transaction() as transaction:
        assert isinstance(tokens.refresh_many(transaction, [own.refresh_token])[0], tokens.GrantRefused)


def test_no_other_key_can_have_the_name(owned: Database) -> None:
    with pytest.raises(keys.KeyRefused, match="The name 'Password grant' is kept"):
        with owned.transaction() as transaction:
            keys.create(transaction, name=keys.PASSWORD_GRANT)
    with owned.snapshot() as snapshot:
        assert keys.everything(snapshot) == []
