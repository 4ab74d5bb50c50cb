"""Users: the people that keys belong to."""

from typing import Any, NamedTuple

from sqlalchemy import bindparam, insert, select, update

from rollbook.register.moments import now
from rollbook.register.text import email_key
from rollbook.storage.statements import InsertRows, Statement
from rollbook.storage.tables import users
from rollbook.storage.transactions import Snapshot, Transaction

OWNER = "OWNER"

user_with_id = Statement(
    select(users.c.name, users.c.email, users.c.role_level, users.c.password_hash).where(
        users.c.id == bindparam("id")
    )
)
every_user = Statement(
    select(users.c.id, users.c.name, users.c.email, users.c.role_level, users.c.password_hash).order_by(
        users.c.id
    )
)
set_password_hash = Statement(
    update(users).where(users.c.id == bindparam("of_id")).values(password_hash=bindparam("hash"))
)
first_owner = Statement(select(users.c.id).where(users.c.role_level == OWNER).order_by(users.c.id).limit(1))
add_user = InsertRows(insert(users), ["id", "name", "email", "role_level", "created_at"])


class UserRefused(ValueError):
    """A user cannot be found or changed so; the message says why."""


class User(NamedTuple):
    """A user; `role_level` is OWNER or ADMINISTRATOR, `password_hash` None until a password is set."""

    id: int
    name: str
    email: str
    role_level: str
    password_hash: str | None = None

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the user's resource object, as `GET /v1/me` shows it."""
        initials = "".join(word[0] for word in self.name.split()[:2]).upper()
        return {
            "initials": initials,
            "name": self.name,
            "email": self.email,
            "role_level": self.role_level,
        }


def create_owner(transaction: Transaction, *, name: str, email: str) -> int:
    """Make the owner, and return their id."""
    (user_id,) = transaction.new_ids("users", 1)
    transaction.insert(add_user, [(user_id, name, email, OWNER, now())])
    return user_id


def owner(snapshot: Snapshot) -> int | None:
    """Return the id of the owner, or None on a database that has not begun."""
    row = snapshot.row(first_owner)
    return None if row is None else int(row[0])


def user(snapshot: Snapshot, user_id: int) -> User | None:
    """Return a user."""
    row = snapshot.row(user_with_id, {"id": user_id})
    return None if row is None else User(user_id, *row)


def everything(snapshot: Snapshot) -> list[User]:
    """Return all users, in the order of their ids."""
    return [User(*row) for row in snapshot.rows(every_user)]


def with_email(snapshot: Snapshot, email: str) -> User | None:
    """Return the user with an e-mail, in any case; users are few."""
    key = email_key(email)
    return next((each for each in everything(snapshot) if email_key(each.email) == key), None)


def set_password(transaction: Transaction, user_id: int, password_hash: str) -> None:
    """Keep the hash of a user's new password."""
    transaction.run(set_password_hash, {"of_id": user_id, "hash": password_hash})
