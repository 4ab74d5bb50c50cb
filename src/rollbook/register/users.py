"""Users: the people that keys belong to."""

from typing import Any, NamedTuple

from sqlalchemy import bindparam, insert, select

from rollbook.register.moments import now
from rollbook.storage.statements import InsertRows, Statement
from rollbook.storage.tables import users
from rollbook.storage.transactions import Snapshot, Transaction

OWNER = "OWNER"

user_with_id = Statement(
    select(users.c.name, users.c.email, users.c.role_level).where(users.c.id == bindparam("id"))
)
first_owner = Statement(select(users.c.id).where(users.c.role_level == OWNER).order_by(users.c.id).limit(1))
add_user = InsertRows(insert(users), ["id", "name", "email", "role_level", "created_at"])


class User(NamedTuple):
    """A user as `GET /v1/me` shows one; `role_level` is OWNER or ADMINISTRATOR."""

    id: int
    name: str
    email: str
    role_level: str

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the user's resource object."""
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
