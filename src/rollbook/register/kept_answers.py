"""Answers that are kept for retries, in the transaction of the effect that they tell of."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import orjson
from sqlalchemy import bindparam, delete, literal_column, select, update

from rollbook.jsonapi.errors import Refusal, Refused, refuse
from rollbook.register.moments import now
from rollbook.storage import dialects
from rollbook.storage.statements import InsertRows, Statement
from rollbook.storage.tables import kept_answers as table
from rollbook.storage.tables import keys
from rollbook.storage.transactions import Snapshot, Transaction

Operation = Callable[[Transaction, list[Any]], Sequence[Any]]

KEPT_SECONDS = 24 * 3_600
# Of which any may be as large as a batch of contacts.
FORGOTTEN_AT_ONCE = 64


class KeptAnswer(NamedTuple):
    """An answer with the hash of the request that it answered."""

    status: int
    headers: Sequence[Sequence[str]]
    body: str
    request_hash: str


class Once(NamedTuple):
    """An item of an operation that is done once for a key, and how its outcome is answered."""

    key_id: int
    idempotency_key: str
    item: Any
    answer_of: Callable[[Any], KeptAnswer]


answer_with_key = Statement(
    select(table.c.status, table.c.headers, table.c.body, table.c.request_hash).where(
        table.c.key_id == bindparam("key_id"),
        table.c.idempotency_key == bindparam("idempotency_key"),
        table.c.created_at > bindparam("since"),
    )
)
delete_old = Statement(
    delete(table).where(
        table.c.key_id == bindparam("key_id"),
        table.c.idempotency_key == bindparam("idempotency_key"),
        table.c.created_at <= bindparam("since"),
    )
)
# A look by the index for each API key; a planner might read all answers to join them.
_oldest = (
    select(table.c.created_at)
    .where(table.c.key_id == keys.c.id)
    .order_by(table.c.created_at)
    .limit(1)
    .correlate(keys)
    .scalar_subquery()
)
keys_with_old = Statement(select(keys.c.id).where(_oldest <= bindparam("since")).order_by(keys.c.id))
delete_oldest = Statement(
    delete(table)
    .where(
        table.c.key_id == bindparam("key_id"),
        table.c.idempotency_key.in_(
            select(table.c.idempotency_key)
            .where(table.c.key_id == bindparam("key_id"), table.c.created_at <= bindparam("since"))
            .order_by(table.c.created_at)
            .limit(literal_column(str(FORGOTTEN_AT_ONCE)))
        ),
    )
    .returning(table.c.key_id)
)
add_answer = InsertRows(
    dialects.insert_or_skip(table, ["key_id", "idempotency_key"]).returning(table.c.key_id),
    ["key_id", "idempotency_key", "request_hash", "status", "headers", "body", "created_at"],
)
answers_with = Statement(
    select(table.c.key_id, table.c.idempotency_key, table.c.body).where(
        dialects.contains(table.c.body, bindparam("needle"))
    )
)
forget_answer = Statement(
    update(table)
    .where(table.c.key_id == bindparam("of_key"), table.c.idempotency_key == bindparam("of_idempotency_key"))
    .values(status=bindparam("new_status"), headers="[]", body=bindparam("new_body"))
)


def find(snapshot: Snapshot, key: tuple[int, str]) -> KeptAnswer | None:
    """Return the answer that is kept for an API key and its idempotency key, if any still is."""
    values = {"key_id": key[0], "idempotency_key": key[1], "since": now(-KEPT_SECONDS)}
    row = snapshot.row(answer_with_key, values)
    return None if row is None else KeptAnswer(row[0], orjson.loads(row[1]), row[2], row[3])


@cache
def once_many(operation: Operation) -> Operation:
    """Return the operation that does another one's items, each a `Once`, and keeps the answer of each that is
    not refused; the same for the same, so that those who wait for it are done together.
    """

    def do_once_many(transaction: Transaction, items: list[Once]) -> list[KeptAnswer | Refused]:
        outcomes = operation(transaction, [each.item for each in items])
        return [
            outcome if isinstance(outcome, Refused) else _keep(transaction, each, each.answer_of(outcome))
            for each, outcome in zip(items, outcomes, strict=True)
        ]

    return do_once_many


def keys_of_old(snapshot: Snapshot, _none: None = None) -> list[int]:
    """Return the API keys that have answers which are no longer kept, and are to be deleted."""
    return [row[0] for row in snapshot.rows(keys_with_old, {"since": now(-KEPT_SECONDS)})]


def forget_old_many(transaction: Transaction, key_ids: list[int]) -> list[bool]:
    """Delete some of the answers of each API key that are no longer kept; say whether there may be more."""
    since = now(-KEPT_SECONDS)
    deleted = [transaction.run(delete_oldest, {"key_id": each, "since": since}) for each in key_ids]
    return [len(rows) == FORGOTTEN_AT_ONCE for rows in deleted]


def forget(
    transaction: Transaction, contact_ids: Sequence[int], site_id: int, email: str, answer: str
) -> None:
    """Put another answer, a 404, in the place of every kept one that speaks of a person.

    Those are the answers with any of these ids, and those with a contact of the site that has the e-mail: it
    may be one that was deleted since, whose id nobody remembers. What others wrote into a text says nothing.
    """
    ids = {str(each) for each in contact_ids}
    told = set()
    for needle in (*ids, email):
        for key_id, key, body in transaction.rows(answers_with, {"needle": orjson.dumps(needle).decode()}):
            if _tells_of(orjson.loads(body), ids, str(site_id), email):
                told.add((key_id, key))
    for key_id, key in sorted(told):
        values = {"of_key": key_id, "of_idempotency_key": key, "new_status": 404, "new_body": answer}
        transaction.run(forget_answer, values)


def _tells_of(part: Any, ids: set[str], site_id: str, email: str) -> bool:
    """Say whether a document has, anywhere, one of these contacts, or one of the site with the e-mail."""
    if isinstance(part, list):
        return any(_tells_of(each, ids, site_id, email) for each in part)
    if not isinstance(part, dict):
        return False
    if part.get("id") in ids:
        return True
    if part.get("type") == "contacts" and "attributes" in part:
        site = part["relationships"]["site"]["data"]["id"]
        return bool(part["attributes"].get("email") == email and site == site_id)
    return any(_tells_of(each, ids, site_id, email) for each in part.values())


def _keep(transaction: Transaction, once: Once, answer: KeptAnswer) -> KeptAnswer:
    """Keep the answer of what was done in the same transaction."""
    moment = now()
    # One that nobody has come to delete yet must not stand in the way.
    which = {"key_id": once.key_id, "idempotency_key": once.idempotency_key}
    transaction.run(delete_old, which | {"since": now(-KEPT_SECONDS)})
    headers = orjson.dumps(answer.headers).decode()
    row = (once.key_id, once.idempotency_key, answer.request_hash, answer.status, headers, answer.body)
    if not transaction.insert(add_answer, [(*row, moment)]):
        # Another server was faster; raised, so that nothing of this one stays.
        raise refuse(Refusal.RETRY_RUNNING)
    return answer
