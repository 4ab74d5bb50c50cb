"""What PostgreSQL's planner knows of the tables of contacts, made anew where they have outgrown it.

A plan that is kept was made for the tables of that moment: for empty ones, each create reads all contacts of
its site to check its keys. Autovacuum makes the statistics anew, and with them the plans, but looks at a
database once a minute, and in a minute there may be two hundred thousand contacts.

It takes up to half a second, in which nothing is indexed. So those who write wait for it seldom: a plan for a
table that was an eighth as large does. In a quiet moment, which hurries nobody, a half is enough.
"""

from sqlalchemy import text

from rollbook.storage.statements import Statement
from rollbook.storage.transactions import Transaction

TIMES_WHILE_WRITTEN, TIMES_WHEN_QUIET = 8, 2

# Of a table in parts, each part has statistics of its own. Where a table has few pages, any plan will do.
outgrown = Statement(
    text(
        "SELECT count(*) FROM pg_class WHERE pg_relation_size(oid) "
        "> CAST(current_setting('block_size') AS bigint) * :times * greatest(relpages, 4) "
        "AND (oid = to_regclass('contacts') "
        "OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('contacts')))"
    ),
    only="postgresql",
)
# A table that somebody has locked is left out: to wait for autovacuum would end that.
analyze = Statement(
    text("ANALYZE (SKIP_LOCKED) contacts, contact_taggings, consent_events, contact_search, search_backlog"),
    only="postgresql",
)
analyze.returns = False


def are_outgrown(transaction: Transaction, times: int) -> bool:
    """Say whether a table has become so many times as large since its statistics were made."""
    found: int = transaction.rows(outgrown, {"times": times})[0][0]
    return found > 0


def renew(transaction: Transaction) -> None:
    """Make the statistics anew."""
    transaction.run(analyze)
