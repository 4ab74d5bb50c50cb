"""API keys: who may use the server; each has a client id, a secret, sites and permissions."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, insert, select, update

from rollbook.register import users
from rollbook.register.callers import PERMISSIONS, Caller
from rollbook.register.moments import now
from rollbook.storage.statements import InsertRows, Statement
from rollbook.storage.tables import key_sites, keys, sites, tokens
from rollbook.storage.transactions import Snapshot, Transaction

EVERYTHING = "*"
# The key of a user whose tokens are given for the user's password. No other key is named so.
PASSWORD_GRANT = "Password grant"  # noqa: S105 - a name, not a password


class KeyRefused(ValueError):
    """A key cannot be made or found so; the message says why."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key as the command line shows it; `client_secret` is there only when it was just made."""

    id: int
    name: str
    client_id: str
    sites: tuple[int, ...]
    permissions: tuple[str, ...]
    client_secret: str | None = None


every_key = Statement(
    select(keys.c.id, keys.c.name, keys.c.client_id, keys.c.all_sites, keys.c.permissions).order_by(keys.c.id)
)
key_by_client_id = Statement(
    select(keys.c.id, keys.c.secret_hash).where(keys.c.client_id == bindparam("client_id"))
)
rights_of_key = Statement(
    select(keys.c.user_id, keys.c.all_sites, keys.c.permissions).where(keys.c.id == bindparam("id"))
)
password_key_of_user = Statement(
    select(keys.c.id).where(keys.c.user_id == bindparam("user_id"), keys.c.name == PASSWORD_GRANT)
)
sites_of_key = Statement(
    select(key_sites.c.site_id).where(key_sites.c.key_id == bindparam("id")).order_by(key_sites.c.site_id)
)
every_site_id = Statement(select(sites.c.id).order_by(sites.c.id))
set_secret = Statement(
    update(keys).where(keys.c.id == bindparam("of_id")).values(secret_hash=bindparam("hash"))
)
delete_key = Statement(delete(keys).where(keys.c.id == bindparam("id")))
delete_tokens_of_key = Statement(delete(tokens).where(tokens.c.key_id == bindparam("id")))
add_key = InsertRows(
    insert(keys),
    ["id", "user_id", "name", "client_id", "secret_hash", "all_sites", "permissions", "created_at"],
)
add_key_site = InsertRows(insert(key_sites), ["site_id", "key_id"])


def digest(secret: str) -> str:
    """Return what is kept of a secret of 256 random bits: no salt is needed, for none can be guessed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def create(
    transaction: Transaction,
    *,
    name: str,
    site_ids: Sequence[int] = (),
    permissions: Sequence[str] = (),
) -> Key:
    """Make a key of the owner's; without sites it sees all, without permissions it has all.

    What a key with all is given includes the sites and permissions to come. Raises KeyRefused for a site or
    a permission that does not exist, and for a name that is taken.
    """
    if name == PASSWORD_GRANT:
        raise KeyRefused(f"The name {name!r} is kept for the keys of users who get tokens by a password.")
    known = [row[0] for row in transaction.rows(every_site_id)]
    for site_id in site_ids:
        if site_id not in known:
            raise KeyRefused(f"There is no site {site_id}. `rollbook sites list` shows all.")
    for permission in permissions:
        if permission not in PERMISSIONS:
            raise KeyRefused(f"There is no permission {permission!r}; known: {', '.join(PERMISSIONS)}.")
    user_id = users.owner(transaction)
    if user_id is None:
        raise KeyRefused("There is no owner yet. `rollbook serve` makes one on an empty database.")
    stored = " ".join(sorted(set(permissions))) if permissions else EVERYTHING
    key_id, client_id, secret = _add(transaction, user_id, name, not site_ids, stored)
    own = sorted(set(site_ids))
    transaction.insert(add_key_site, [(site_id, key_id) for site_id in own])
    return Key(key_id, name, client_id, tuple(own or known), _permissions(stored), secret)


def password_key(transaction: Transaction, user_id: int) -> int:
    """Return the id of a user's key for the password grant, which sees all and may do all; it is made at
    first use, with a secret that nobody knows.
    """
    row = transaction.row(password_key_of_user, {"user_id": user_id})
    if row is not None:
        return int(row[0])
    return _add(transaction, user_id, PASSWORD_GRANT, all_sites=True, permissions=EVERYTHING)[0]


def end_password_tokens(transaction: Transaction, user_id: int) -> None:
    """End all tokens that a user got by a password, and those got by refreshing them."""
    for (key_id,) in transaction.rows(password_key_of_user, {"user_id": user_id}):
        transaction.run(delete_tokens_of_key, {"id": key_id})


def everything(snapshot: Snapshot) -> list[Key]:
    """Return all keys, in the order of their ids, without their secrets."""
    return [
        Key(key_id, name, client_id, _sites(snapshot, key_id, all_sites), _permissions(permissions))
        for key_id, name, client_id, all_sites, permissions in snapshot.rows(every_key)
    ]


def rotate(transaction: Transaction, which: str) -> Key:
    """Give a key, named by its id or client id, a new secret; all of its tokens are dead at once.

    Raises KeyRefused where there is no such key.
    """
    key = _find(transaction, which)
    secret = secrets.token_hex(32)
    transaction.run(set_secret, {"of_id": key.id, "hash": digest(secret)})
    transaction.run(delete_tokens_of_key, {"id": key.id})
    return Key(key.id, key.name, key.client_id, key.sites, key.permissions, secret)


def remove(transaction: Transaction, which: str) -> Key:
    """Delete a key, named by its id or client id, with all of its tokens; raise KeyRefused for none."""
    key = _find(transaction, which)
    transaction.run(delete_key, {"id": key.id})
    return key


def key_of_client(snapshot: Snapshot, client_id: str, client_secret: str) -> int | None:
    """Return the id of the key that has this client id and secret, or None."""
    row = snapshot.row(key_by_client_id, {"client_id": client_id})
    # Compare in any case: an unknown client id must not answer faster than a wrong secret.
    found = row[1] if row else digest("")
    if hmac.compare_digest(found, digest(client_secret)) and row:
        return int(row[0])
    return None


def caller(snapshot: Snapshot, key_id: int, expires: float) -> Caller:
    """Return who asks with a key that exists, until a moment in epoch seconds."""
    user_id, all_sites, permissions = snapshot.rows(rights_of_key, {"id": key_id})[0]
    seen = frozenset(_sites(snapshot, key_id, all_sites))
    return Caller(key_id, user_id, seen, frozenset(_permissions(permissions)), expires, bool(all_sites))


def _add(
    transaction: Transaction, user_id: int, name: str, all_sites: bool, permissions: str
) -> tuple[int, str, str]:
    """Store a new key; return its id, client id and secret."""
    (key_id,) = transaction.new_ids("keys", 1)
    secret, client_id = secrets.token_hex(32), secrets.token_hex(12)
    transaction.insert(
        add_key, [(key_id, user_id, name, client_id, digest(secret), int(all_sites), permissions, now())]
    )
    return key_id, client_id, secret


def _find(transaction: Transaction, which: str) -> Key:
    for key in everything(transaction):
        if which in (str(key.id), key.client_id):
            return key
    raise KeyRefused(f"There is no key {which!r}. `rollbook keys list` shows all.")


def _sites(snapshot: Snapshot, key_id: int, all_sites: int) -> tuple[int, ...]:
    rows = snapshot.rows(every_site_id) if all_sites else snapshot.rows(sites_of_key, {"id": key_id})
    return tuple(row[0] for row in rows)


def _permissions(stored: str) -> tuple[str, ...]:
    return PERMISSIONS if stored == EVERYTHING else tuple(stored.split())
