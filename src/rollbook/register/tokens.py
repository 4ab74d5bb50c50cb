"""Access and refresh tokens: opaque, kept as hashes, gone with their key."""

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, insert, null, or_, select, update

from rollbook.register import keys, users
from rollbook.register.callers import Caller
from rollbook.register.moments import epoch, now
from rollbook.storage.statements import InsertRows, Statement
from rollbook.storage.tables import tokens
from rollbook.storage.transactions import Snapshot, Transaction

ACCESS_SECONDS = 7_200
REFRESH_SECONDS = 30 * 24 * 3_600

key_of_access_token = Statement(
    select(tokens.c.key_id, tokens.c.access_expires_at).where(tokens.c.access_hash == bindparam("hash"))
)
# Servers remember whom access tokens speak for, and until when. What is unknown is not remembered, and what
# has expired is known to have.
use_refresh_token = Statement(
    update(tokens)
    .where(tokens.c.refresh_hash == bindparam("hash"), tokens.c.refresh_expires_at > bindparam("moment"))
    .values(refresh_hash=null())
    .returning(tokens.c.key_id),
    keeps_memory=True,
)
delete_pair = Statement(
    delete(tokens).where(
        or_(tokens.c.access_hash == bindparam("hash"), tokens.c.refresh_hash == bindparam("hash"))
    )
)
delete_expired = Statement(
    delete(tokens).where(
        tokens.c.key_id == bindparam("key_id"),
        or_(
            tokens.c.refresh_expires_at <= bindparam("moment"),
            tokens.c.refresh_hash.is_(None) & (tokens.c.access_expires_at <= bindparam("moment")),
        ),
    ),
    keeps_memory=True,
)
add_pair = InsertRows(
    insert(tokens),
    ["access_hash", "refresh_hash", "key_id", "access_expires_at", "refresh_expires_at"],
    keeps_memory=True,
)


class GrantRefused(Exception):
    """The credentials, the password or the refresh token are not good."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A new access token with its refresh token."""

    access_token: str
    refresh_token: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """The client id and secret of a key, as a client sends them."""

    client_id: str
    client_secret: str


def grant_many(transaction: Transaction, asked: list[Credentials]) -> list[Pair | GrantRefused]:
    """Give each client that knows its secret a pair of tokens."""
    answers: list[Pair | GrantRefused] = []
    for each in asked:
        key_id = keys.key_of_client(transaction, each.client_id, each.client_secret)
        answers.append(GrantRefused() if key_id is None else _new_pair(transaction, key_id))
    return answers


def grant_to_users(transaction: Transaction, asked: list[users.User]) -> list[Pair | GrantRefused]:
    """Give each user, whose password was checked, a pair of tokens.

    Checking takes a while: who has another password by now is refused.
    """
    answers: list[Pair | GrantRefused] = []
    for each in asked:
        if users.user(transaction, each.id) == each:
            answers.append(_new_pair(transaction, keys.password_key(transaction, each.id)))
        else:
            answers.append(GrantRefused())
    return answers


def refresh_many(transaction: Transaction, asked: list[str]) -> list[Pair | GrantRefused]:
    """Give a new pair for each refresh token, which is used up; the old access token lives on."""
    answers: list[Pair | GrantRefused] = []
    for refresh_token in asked:
        values = {"hash": keys.digest(refresh_token), "moment": now()}
        row = transaction.row(use_refresh_token, values)
        answers.append(GrantRefused() if row is None else _new_pair(transaction, row[0]))
    return answers


def revoke_many(transaction: Transaction, asked: list[str]) -> list[None]:
    """End the pair that each token, access or refresh, belongs to; an unknown one is no error."""
    for token in asked:
        transaction.run(delete_pair, {"hash": keys.digest(token)})
    return [None] * len(asked)


def caller_of(snapshot: Snapshot, access_token: str) -> Caller | None:
    """Return who an access token speaks for, also when it has expired, or None for an unknown one."""
    row = snapshot.row(key_of_access_token, {"hash": keys.digest(access_token)})
    if row is None:
        return None
    key_id, expires_at = row
    return keys.caller(snapshot, key_id, epoch(expires_at))


def _new_pair(transaction: Transaction, key_id: int) -> Pair:
    pair = Pair(secrets.token_urlsafe(32), secrets.token_urlsafe(32))
    transaction.run(delete_expired, {"key_id": key_id, "moment": now()})
    row: list[Any] = [
        keys.digest(pair.access_token),
        keys.digest(pair.refresh_token),
        key_id,
        now(ACCESS_SECONDS),
        now(REFRESH_SECONDS),
    ]
    transaction.insert(add_pair, [row])
    return pair
