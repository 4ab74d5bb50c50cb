"""Passwords of users: kept as argon2id hashes, which are costly to make and to check, on purpose."""

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from rollbook.register import keys, users
from rollbook.register.users import User, UserRefused
from rollbook.storage.transactions import Snapshot, Transaction

SHORTEST = 12
# The second choice of RFC 9106, section 4: three passes over 64 MiB, in four lanes.
hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4)
# Checked where there is no password, so that this takes as long as a wrong one; its hash part is made up.
NOBODYS_HASH = f"$argon2id$v=19$m=65536,t=3,p=4${'A' * 22}${'A' * 43}"


def hash_of(password: str) -> str:
    """Return what is kept of a new password; raise UserRefused for one that is too short."""
    if len(password) < SHORTEST:
        raise UserRefused(f"The password has {len(password)} characters; it must have {SHORTEST} or more.")
    if any("\ud800" <= letter <= "\udfff" for letter in password):
        raise UserRefused("The password is not text in UTF-8.")
    return hasher.hash(password)


def fits(password_hash: str | None, password: str) -> bool:
    """Say whether a password is the one of a hash; takes as long where there is no hash."""
    try:
        hasher.verify(password_hash or NOBODYS_HASH, password)
    except VerifyMismatchError:
        return False
    return password_hash is not None


def user(snapshot: Snapshot, email: str) -> User:
    """Return the user with an e-mail, in any case; raise UserRefused where there is none."""
    found = users.with_email(snapshot, email)
    if found is None:
        raise UserRefused(
            f"There is no user {email!r}. `rollbook users list` shows all; `rollbook serve` makes the owner "
            "on an empty database."
        )
    return found


def change(transaction: Transaction, email: str, password_hash: str) -> User:
    """Give a user another password; the tokens that were got by the old one are dead at once.

    Raises UserRefused where there is no such user.
    """
    found = user(transaction, email)
    users.set_password(transaction, found.id, password_hash)
    keys.end_password_tokens(transaction, found.id)
    return found._replace(password_hash=password_hash)
