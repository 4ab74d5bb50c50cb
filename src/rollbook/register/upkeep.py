"""What an interrupted program or a migration left to be done, before a server begins."""

from sqlalchemy import bindparam, select, update

from rollbook.register import contacts, erasure
from rollbook.register.contact_type import keys_of
from rollbook.storage.database import Database
from rollbook.storage.statements import Statement
from rollbook.storage.tables import contacts as table
from rollbook.storage.transactions import Transaction

CONTACTS_AT_ONCE = 1_000

unindexed = Statement(
    select(table.c.site_id, table.c.id).where(table.c.search_keys.is_(None)).limit(bindparam("most"))
)
set_search_keys = Statement(
    update(table)
    .where(table.c.site_id == bindparam("of_site"), table.c.id == bindparam("of_id"))
    .values(search_keys=bindparam("search_keys"))
)


def finish(database: Database) -> None:
    """Index the texts that an older program did not index, and finish an interrupted erasure."""
    remaining = True
    while remaining:
        with database.transaction() as transaction:
            remaining = _index_some(transaction)
    with database.snapshot() as snapshot:
        unfinished = erasure.is_unfinished(snapshot)
    if unfinished:
        database.scrub_now()
        with database.transaction() as transaction:
            erasure.finish_many(transaction, [None])


def _index_some(transaction: Transaction) -> bool:
    """Index some contacts that are not; say whether there may be more."""
    rows = transaction.rows(unindexed, {"most": CONTACTS_AT_ONCE})
    for site_id, contact_id in rows:
        values = contacts.values_of(transaction, site_id, contact_id)
        if values is None:
            continue
        keys = keys_of(site_id, values["name"], values["email"], values)
        transaction.run(contacts.delete_grams, {"id": contact_id})
        transaction.insert(contacts.add_grams, [(contact_id, keys.grams)])
        which = {"of_site": site_id, "of_id": contact_id}
        transaction.run(set_search_keys, which | {"search_keys": keys.search_keys})
    return len(rows) == CONTACTS_AT_ONCE
