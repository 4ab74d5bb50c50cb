"""What is done in quiet moments, or before a server begins: the search index, interrupted erasures."""

from collections.abc import Callable

import orjson
from sqlalchemy import bindparam, delete, func, select, update

from rollbook.register import consent, days, erasure, members, text
from rollbook.register.audience import LETTERS
from rollbook.register.contact_type import Keys, keys_of
from rollbook.storage import dialects, search_index
from rollbook.storage.database import Database
from rollbook.storage.debts import PORTION, Upkeep
from rollbook.storage.faults import Unavailable
from rollbook.storage.search_backlog import NextContacts, next_sites
from rollbook.storage.search_index import Entry
from rollbook.storage.statements import Row, Statement
from rollbook.storage.tables import contacts as table
from rollbook.storage.tables import search_backlog as backlog
from rollbook.storage.transactions import Snapshot, Transaction

PORTIONS_TOGETHER = 16

# Hears why the database cannot finish erasures now.
PutOff = Callable[[Unavailable], None]

next_keys = NextContacts("email", "name_key", "search_keys")
next_texts = NextContacts("name", "email", *Keys._fields, *LETTERS)
remove_from_backlog = Statement(
    delete(backlog).where(
        # Without the site, each portion would read all of the backlog.
        dialects.among(backlog.c.site_id, bindparam("site_ids")),
        # Hundreds, of a table so small that no index may lead to its rows.
        dialects.among_many(backlog.c.contact_id, bindparam("contact_ids")),
    )
)
number_owed = Statement(select(func.count()).select_from(backlog))
set_keys = Statement(
    update(table)
    .where(table.c.site_id == bindparam("of_site"), table.c.id == bindparam("of_id"))
    .values({name: bindparam(name) for name in Keys._fields})
)


def index_some(transaction: Transaction) -> int:
    """Index some contacts of the search backlog; return how many, 0 when it is empty."""
    rows: list[Row] = []
    # While a site is waited for, contacts of others may take all places of the portion.
    while not rows and (owed := {row[0] for row in transaction.rows(next_sites)}):
        # Their texts must not change, nor they be erased, between reading them here and the commit.
        transaction.lock_sites(owed)
        rows = [row for row in next_keys.rows(transaction) if row[0] in owed]
    if not rows:
        return 0
    entries = [
        Entry(site_id, contact_id, _tokens(site_id, email, name_key, search_keys))
        for site_id, contact_id, email, name_key, search_keys in rows
    ]
    put = search_index.put if len(rows) == PORTION else search_index.put_last
    put(transaction, entries)
    site_ids = orjson.dumps(sorted({each.site_id for each in entries})).decode()
    contact_ids = orjson.dumps([each.contact_id for each in entries]).decode()
    transaction.run(remove_from_backlog, {"site_ids": site_ids, "contact_ids": contact_ids})
    return len(rows)


def recount(database: Database) -> None:
    """Make anew all that is kept so that it need not be counted, where an older program, which knew nothing
    of it, may have served the database meanwhile.
    """
    if not database.engine.was_kept_whole:
        database.do(_recount)
        # Not before: a start that ends in between leaves it to the next.
        database.engine.note_kept_whole()


def _recount(transaction: Transaction) -> None:
    transaction.run(consent.follow_all)
    days.count_anew(transaction)
    members.count_anew(transaction)


def prepare_to_serve(database: Database, is_migrated: bool, put_off: PutOff) -> None:
    """Do what a server begins with: finish interrupted erasures, and index what an older program may have
    left, which knew fewer texts.

    What this program has left is indexed while the server runs; until then searches look at it. An erasure
    that the database cannot finish now is put off: the next one, or the next start, finishes it.
    """
    if is_migrated or not database.engine.was_kept_whole:
        # Indexed with the keys that they have, they would not be found by those texts.
        index_all(database)
    try:
        _finish_erasures(database)
    except Unavailable as error:
        put_off(error)


def finish(database: Database) -> None:
    """Index all of the search backlog, and finish interrupted erasures."""
    index_all(database)
    _finish_erasures(database)


def _finish_erasures(database: Database) -> None:
    with database.snapshot() as snapshot:
        unfinished = erasure.unfinished(snapshot)
    if unfinished:
        database.scrub_now()
        database.do(lambda transaction: erasure.finish_many(transaction, [unfinished]))


def owed(database: Database) -> int:
    """Return how many contacts are in the search backlog."""
    with database.snapshot() as snapshot:
        return _owed(snapshot)


def _owed(snapshot: Snapshot) -> int:
    count: int = snapshot.rows(number_owed)[0][0]
    return count


def index_all(database: Database, advance: Callable[[int], None] | None = None) -> None:
    """Index all of the search backlog; `advance` hears of each portion."""
    indexed = 1
    while indexed:
        indexed = database.do(_index_portions)
        if advance is not None:
            advance(indexed)


def _index_portions(transaction: Transaction) -> int:
    """Index several portions. Nobody waits behind it: larger transactions make fewer pieces of the index."""
    indexed = 0
    for _ in range(PORTIONS_TOGETHER):
        _renew_keys(transaction)
        portion = index_some(transaction)
        if not portion:
            break
        indexed += portion
    return indexed


def _renew_keys(transaction: Transaction) -> None:
    """Make the keys of those who are indexed next as this program makes them.

    An older program may have stored them, which did not search all texts. While a server runs, only its own
    contacts join the backlog; so this is done before.
    """
    for site_id, contact_id, name, email, *more in next_texts.rows(transaction):
        keys = keys_of(name, email, dict(zip(LETTERS, more[len(Keys._fields) :], strict=True)))
        if keys != tuple(more[: len(Keys._fields)]):
            transaction.run(set_keys, keys._asdict() | {"of_site": site_id, "of_id": contact_id})


def _tokens(site_id: int, email: str, name_key: str, search_keys: str | None) -> str:
    """Return the tokens of a contact's searchable texts."""
    others = {} if search_keys is None else orjson.loads(search_keys)
    tokens = [text.grams(str(site_id), others.pop("name", name_key), email)]
    tokens += [text.grams(f"{site_id}{LETTERS[name]}", key) for name, key in others.items()]
    return search_index.SEPARATOR.join(tokens)


UPKEEP = Upkeep(_owed, index_some, search_index.tidy, search_index.is_asked)
