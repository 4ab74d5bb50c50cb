"""Writes that can be retried without fear: an `Idempotency-Key` gets one effect and one answer."""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from rollbook.api.calls import Call, Retry
from rollbook.api.http import JSON_API, Answer
from rollbook.jsonapi.errors import Refusal, refuse
from rollbook.observations import Observe, RequestFailed, StorageUnavailable
from rollbook.register import kept_answers
from rollbook.register.kept_answers import KeptAnswer
from rollbook.storage.database import Database
from rollbook.storage.faults import StorageError
from rollbook.storage.transactions import Transaction

KEY = b"idempotency-key"
REPLAYED = (b"idempotency-replayed", b"true")
MEDIA_TYPE = b"content-type"
# What is observed of the answers' end, which belongs to no request.
THEIR_END = "kept answers"
ENDED_EVERY_SECONDS = 3_600
USABLE_KEY = re.compile(rb"[\x21-\x7e]{1,255}")

Handle = Callable[[Call], Any]


def once(call: Call, handle: Handle) -> Awaitable[Answer]:
    """Answer a write, or repeat the answer that the same write with its `Idempotency-Key` got before."""
    sent = call.request.header(KEY)
    # Most writes have no key, and need nobody to wait between their handler and who waits for it.
    answering: Awaitable[Answer] = handle(call) if sent is None else _once(call, handle, sent)
    return answering


async def _once(call: Call, handle: Handle, sent: bytes) -> Answer:
    if not USABLE_KEY.fullmatch(sent):
        raise refuse(Refusal.HEADER_NOT_USABLE, "Idempotency-Key")
    # Clients make keys of e-mails; their hash serves as well, and an erasure need not look for it.
    retry = Retry(call.caller.key_id, hashlib.sha256(sent).hexdigest(), _fingerprint(call))
    running = call.house.running
    if (retry.key_id, retry.key) in running:
        raise refuse(Refusal.RETRY_RUNNING)
    running.add((retry.key_id, retry.key))
    try:
        kept = await call.house.database.glance(kept_answers.find, (retry.key_id, retry.key))
        if kept is None:
            answer: Answer = await handle(call._replace(retry=retry))
            return answer
        if kept.request_hash != retry.request_hash:
            raise refuse(Refusal.RETRY_DIFFERS)
        return _answer(kept, REPLAYED)
    finally:
        running.discard((retry.key_id, retry.key))


def write(
    call: Call,
    operation: Callable[[Transaction, list[Any]], Sequence[Any]],
    item: Any,
    answer_of: Callable[[Any], Answer],
    *,
    is_short: bool = False,
) -> Awaitable[Answer]:
    """Do an operation on an item, and answer its outcome; see `Database.write`.

    With an `Idempotency-Key` the answer is made and kept in the transaction of its effect.
    """
    if call.retry is not None:
        return _write_once(call, call.retry, operation, item, answer_of, is_short)
    database = call.house.database
    return database.write(operation, item, is_short=is_short, as_of=call.as_of, then=answer_of)


async def _write_once(
    call: Call,
    retry: Retry,
    operation: Callable[[Transaction, list[Any]], Sequence[Any]],
    item: Any,
    answer_of: Callable[[Any], Answer],
    is_short: bool,
) -> Answer:
    def kept(outcome: Any) -> KeptAnswer:
        answer = answer_of(outcome)
        sent = ((MEDIA_TYPE, answer.media_type), *answer.headers)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in sent]
        return KeptAnswer(answer.status, headers, answer.body.decode(), retry.request_hash)

    once = kept_answers.Once(retry.key_id, retry.key, item, kept)
    written = call.house.database.write(kept_answers.once_many(operation), once, is_short=is_short)
    return _answer(await written)


async def end_in_time(database: Database, observe: Observe, every: float = ENDED_EVERY_SECONDS) -> None:
    """Delete the answers that are no longer kept, now and from time to time, for as long as the server runs.

    Nobody need write for that. It is done in portions, between which others write.
    """
    while True:
        try:
            for key_id in await database.read(kept_answers.keys_of_old, None):
                while await database.write(kept_answers.forget_old_many, key_id):
                    continue
        except StorageError as error:
            observe(StorageUnavailable(THEIR_END, type(error).__name__, ""))
        except Exception as error:
            observe(RequestFailed.of(error, THEIR_END, ""))
        await asyncio.sleep(every)


def _answer(kept: KeptAnswer, *more: tuple[bytes, bytes]) -> Answer:
    """Return a kept answer as it is sent, with more headers."""
    headers = {name.encode("latin-1"): value.encode("latin-1") for name, value in kept.headers}
    media_type = headers.pop(MEDIA_TYPE, JSON_API)
    return Answer(kept.status, kept.body.encode(), media_type, (*headers.items(), *more))


def _fingerprint(call: Call) -> str:
    """Return what tells one request from another that carries the same key."""
    path = call.request.path.removeprefix("/api")
    parts = (call.request.method.encode(), path.encode(), call.request.query, call.body)
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
