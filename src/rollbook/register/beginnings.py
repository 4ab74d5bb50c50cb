"""How an empty register begins: one site, one owner, one key."""

from typing import NamedTuple

from sqlalchemy import func, select

from rollbook.register import keys, sites, users
from rollbook.storage import tables
from rollbook.storage.statements import Statement
from rollbook.storage.transactions import Transaction

# The site of the published example of `POST /v1/contacts`, so that it works as it stands.
FIRST_SITE = 123

number_of_sites = Statement(select(func.count()).select_from(tables.sites))


class Beginning(NamedTuple):
    """What was made on an empty database; the key carries its secret, this once."""

    site: sites.Site
    key: keys.Key


def begin(transaction: Transaction, *, owner_name: str, owner_email: str) -> Beginning | None:
    """Make the owner where there is none, and the first site and key where there is no site.

    Returns None where there was a site already.
    """
    # Several servers may begin at one moment.
    transaction.lock_beginning()
    if users.owner(transaction) is None:
        users.create_owner(transaction, name=owner_name, email=owner_email)
    if transaction.rows(number_of_sites)[0][0]:
        return None
    site = sites.create(transaction, title="My site", subdomain="my-site", site_id=FIRST_SITE)
    return Beginning(site, keys.create(transaction, name="Owner"))
