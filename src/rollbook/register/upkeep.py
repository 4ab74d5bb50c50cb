"""What is done in quiet moments, or before a server begins: the search index, interrupted erasures."""

import orjson
from sqlalchemy import bindparam, delete, select, update

from rollbook.register import erasure, text
from rollbook.register.audience import LETTERS
from rollbook.register.contact_type import keys_of
from rollbook.storage import dialects
from rollbook.storage.database import Database
from rollbook.storage.statements import InsertRows, Statement
from rollbook.storage.tables import contacts as table
from rollbook.storage.tables import search_backlog as backlog
from rollbook.storage.transactions import Transaction

CONTACTS_AT_ONCE = 256

oldest_of_backlog = Statement(
    select(
        *(table.c[name] for name in ("site_id", "id", "name", "name_key", "email", "search_keys")),
        *(table.c[name] for name in LETTERS),
    )
    .select_from(backlog)
    .join(table, (table.c.site_id == backlog.c.site_id) & (table.c.id == backlog.c.contact_id))
    .order_by(backlog.c.site_id, backlog.c.contact_id)
    .limit(bindparam("most"))
)
remove_from_backlog = Statement(
    delete(backlog).where(dialects.among(backlog.c.contact_id, bindparam("contact_ids")))
)
set_search_keys = Statement(
    update(table)
    .where(table.c.site_id == bindparam("of_site"), table.c.id == bindparam("of_id"))
    .values(search_keys=bindparam("search_keys"))
)
add_grams = InsertRows(dialects.insert_grams(), ["rowid", "grams"])


def index_some(transaction: Transaction) -> int:
    """Index some contacts of the search backlog; return how many, 0 when it is empty."""
    rows = transaction.rows(oldest_of_backlog, {"most": CONTACTS_AT_ONCE})
    grams = []
    for site_id, contact_id, name, name_key, email, search_keys, *texts in rows:
        if search_keys is None and any(texts):
            # An older program stored it, which did not search these texts.
            search_keys = keys_of(name, email, dict(zip(LETTERS, texts, strict=True))).search_keys
            which = {"of_site": site_id, "of_id": contact_id}
            transaction.run(set_search_keys, which | {"search_keys": search_keys})
        grams.append((contact_id, _grams(site_id, name_key, email, search_keys)))
    transaction.insert(add_grams, grams)
    if rows:
        indexed = orjson.dumps([contact_id for contact_id, _ in grams]).decode()
        transaction.run(remove_from_backlog, {"contact_ids": indexed})
    return len(rows)


def finish(database: Database) -> None:
    """Index all of the search backlog, and finish an interrupted erasure."""
    indexed = 1
    while indexed:
        with database.transaction() as transaction:
            indexed = index_some(transaction)
    with database.snapshot() as snapshot:
        unfinished = erasure.unfinished(snapshot)
    if unfinished:
        database.scrub_now()
        with database.transaction() as transaction:
            erasure.finish_many(transaction, [unfinished])


def _grams(site_id: int, name_key: str, email: str, search_keys: str | None) -> str:
    """Return the tokens of a contact's searchable texts."""
    tokens = [text.grams(str(site_id), name_key, email)]
    if search_keys is not None:
        keys = orjson.loads(search_keys)
        tokens += [text.grams(f"{site_id}{LETTERS[name]}", key) for name, key in keys.items()]
    return dialects.GRAM_SEPARATOR.join(tokens)
