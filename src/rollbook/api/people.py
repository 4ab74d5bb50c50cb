"""What contacts have beyond a resource: their tags, ledger, upsert, batch, merge, export and erasure."""

from collections.abc import Callable, Mapping
from typing import Any

from orjson import Fragment

from rollbook.api import entity_tags
from rollbook.api.calls import Call
from rollbook.api.documents import (
    NO_DATA,
    answer_page,
    document_of,
    glance,
    query_of,
    shown,
    url_of,
)
from rollbook.api.http import Answer, json_answer
from rollbook.api.retries import write
from rollbook.jsonapi.errors import Refusal, Refused, error_object, refuse
from rollbook.jsonapi.reading import meta_of, read_identifier, read_linkage
from rollbook.jsonapi.resource import Record
from rollbook.jsonapi.writing import linkage_document, partial_object, resource_object, single_document
from rollbook.register import consent, contacts, erasure, merging, tagging, tags, upserts
from rollbook.register.moments import now
from rollbook.register.resource import Found, find
from rollbook.register.tagging import Tagging, Verb
from rollbook.register.upserts import OnDuplicate, Outcome, Upsert
from rollbook.storage.transactions import Snapshot

MOST_ITEMS = 1_000


async def show_tags(call: Call) -> Answer:
    """Answer the linkage of a contact's tags, whole; it is not paged."""
    found = await _found(call)
    call.caller.require(contacts.VIEW)
    ids = await glance(call, lambda snapshot: tags.of_contact(snapshot, found.site_id, found.id))
    return _linkage(call, ids)


def write_tags(verb: Verb) -> Callable[[Call], Any]:
    """Return the handler that adds, removes or replaces tags of a contact, and answers the whole linkage."""

    async def handle(call: Call) -> Answer:
        sent = read_linkage(call.document, tags.TYPE.name)
        if_match = entity_tags.if_match(call, contacts.RESOURCE)

        def look(snapshot: Snapshot) -> Tagging:
            found = _find(snapshot, call)._replace(if_match=if_match)
            return Tagging(found, verb, tags.ids_of_known(snapshot, found.site_id, sent))

        tagging_asked = await glance(call, look)
        call.caller.require(contacts.EDIT)
        return await write(call, tagging.write_many, tagging_asked, lambda ids: _linkage(call, ids))

    return handle


async def list_consent_events(call: Call) -> Answer:
    """Answer a page of a contact's ledger, oldest first."""
    query = query_of(call, consent.RESOURCE)
    found = await _found(call)
    call.caller.require(contacts.VIEW)
    own = [each for each in query.filters if each[0] != "contact_id"]
    query = query._replace(filters=(*own, ("contact_id", (str(found.id),))))
    return await answer_page(call, consent.RESOURCE, query, f"contacts/{found.id}/consent_events")


async def merge(call: Call) -> Answer:
    """Dissolve the contact of the body in that of the path, and answer the survivor."""
    other = read_identifier(call.document, contacts.RESOURCE.type.name)
    if_match = entity_tags.if_match(call, contacts.RESOURCE)

    def look(snapshot: Snapshot) -> merging.Merge:
        found = _find(snapshot, call)._replace(if_match=if_match)
        if find(snapshot, contacts.RESOURCE, call.caller, other) != found.site_id:
            raise refuse(Refusal.NOT_FOUND)
        return merging.Merge(found, int(other))

    merge_asked = await glance(call, look)
    for permission in merging.PERMISSIONS:
        call.caller.require(permission)
    if merge_asked.survivor.id == merge_asked.other_id:
        raise refuse(Refusal.MERGED_WITH_ITSELF)
    return await write(
        call, merging.merge_many, merge_asked, lambda record: shown(call, contacts.RESOURCE, record)
    )


async def export(call: Call) -> Answer:
    """Answer all that is held about a person in one document."""
    found = await _found(call)
    for permission in erasure.EXPORT_PERMISSIONS:
        call.caller.require(permission)
    catalogue, api_url = call.house.catalogue, call.house.api_url
    held = await call.house.database.read(
        lambda snapshot, asked: erasure.everything_about(snapshot, asked, catalogue), found
    )
    included = [
        resource_object(resource, each, api_url) for resource, records in held.compound for each in records
    ]
    url = url_of(call, contacts.RESOURCE, held.record)
    document = single_document(
        resource_object(contacts.RESOURCE.type, held.record, api_url), url + "/export", included
    )
    document["meta"] = {
        "exported_at": now(),
        "merged_ids": held.merged_ids,
        "mobile_phone_number": held.mobile_phone_number,
    }
    return json_answer(200, document)


async def erase(call: Call) -> Answer:
    """Erase a person from the register; `finish_erasures` follows before this is answered."""
    found = await _found(call)
    for permission in erasure.ERASE_PERMISSIONS:
        call.caller.require(permission)
    expected = found._replace(if_match=entity_tags.if_match(call, contacts.RESOURCE))
    return await write(call, erasure.erase_many, expected, lambda _nothing: json_answer(200, NO_DATA))


async def finish_erasures(call: Call) -> None:
    """Have the files hold nothing of anybody who was erased, also by a request that failed in this."""
    database = call.house.database
    unfinished = await database.read(erasure.unfinished, None)
    if unfinished:
        await database.scrub()
        await database.write(erasure.finish_many, unfinished)


async def upsert(call: Call) -> Answer:
    """Create a contact, or change the one that is there: 201 or 200."""
    document = call.document
    meta = meta_of(document)
    match = meta.get("match", "email")
    if match not in ("email", "external_user_id"):
        raise refuse(Refusal.META_INVALID, "match", label="Match")
    item = upserts.read(
        call.caller,
        document,
        OnDuplicate.UPDATE,
        resubscribe=meta.get("resubscribe") is True,
        by_external_user_id=match == "external_user_id",
    )

    def done(outcome: Outcome) -> Answer:
        if not outcome.created and not call.caller.may(contacts.VIEW):
            url = url_of(call, contacts.RESOURCE, outcome.record)
            return json_answer(200, single_document(_as_given(call, outcome.record, outcome.given), url))
        if not outcome.created:
            return shown(call, contacts.RESOURCE, outcome.record)
        body = document_of(call, contacts.RESOURCE, outcome.record)
        location = url_of(call, contacts.RESOURCE, outcome.record).encode()
        return Answer(201, body, headers=((b"location", location), entity_tags.header(body)))

    return await write(call, upserts.do_many, item, done)


async def batch(call: Call) -> Answer:
    """Create many contacts, each by itself; skip, change or refuse those that are there."""
    document = call.document
    items = document.get("data")
    if not isinstance(items, list):
        raise refuse(Refusal.DATA_NOT_ARRAY)
    if not 1 <= len(items) <= MOST_ITEMS:
        raise refuse(Refusal.ITEMS_OUT_OF_RANGE, limit=f"{MOST_ITEMS:,}", items="resources", where="/data")
    meta = meta_of(document)
    try:
        on_duplicate = OnDuplicate(meta.get("on_duplicate", "refuse"))
    except ValueError:
        raise refuse(Refusal.META_INVALID, "on_duplicate", label="On duplicate") from None
    _, problems = consent.read_circumstances(meta)
    if problems:
        raise Refused(*problems)
    answers: list[Outcome | Refused | None] = []
    asked: list[Upsert] = []
    for data in items:
        try:
            asked.append(_batch_item(call, data, meta, on_duplicate))
            answers.append(None)
        except Refused as refused:
            answers.append(refused)

    def done(outcomes: list[Outcome | Refused]) -> Answer:
        following = iter(outcomes)
        whole = [next(following) if answer is None else answer for answer in answers]
        return json_answer(200, _batch_document(call, whole))

    return await write(call, upserts.do_batches, asked, done)


def _batch_item(call: Call, data: Any, meta: Mapping[str, Any], on_duplicate: OnDuplicate) -> Upsert:
    return upserts.read(
        call.caller,
        {"data": data, "meta": meta},
        on_duplicate,
        resubscribe=meta.get("resubscribe") is True,
        by_external_user_id=False,
    )


def _batch_document(call: Call, answers: list[Outcome | Refused]) -> dict[str, Any]:
    api_url, readable = call.house.api_url, call.caller.may(contacts.VIEW)
    counts = dict.fromkeys(("created", "updated", "skipped", "refused"), 0)
    results: list[dict[str, Any]] = []
    # JSON:API allows each resource once in a document; the last form of it is the one that stands.
    data: dict[int, Fragment] = {}
    # For who may not view contacts: those that are new to everybody, and what was given for the others.
    made: set[int] = set()
    given: dict[int, frozenset[str]] = {}
    for at, answer in enumerate(answers):
        if isinstance(answer, Refused):
            counts["refused"] += 1
            errors = [error_object(problem, api_url) for problem in upserts.moved(answer, at)]
            results.append({"status": str(answer.status), "errors": errors})
            continue
        counts["created" if answer.created else "skipped" if answer.skipped else "updated"] += 1
        result: dict[str, Any] = {"status": "201" if answer.created else "200"}
        if not answer.skipped or readable:
            number = answer.record.id
            result["id"] = str(number)
            made |= {number} if answer.created else set()
            if readable or number in made:
                data[number] = resource_object(contacts.RESOURCE.type, answer.record, api_url)
            else:
                given[number] = given.get(number, frozenset()) | answer.given
                data[number] = _as_given(call, answer.record, given[number])
        results.append(result | ({"skipped": True} if answer.skipped else {}))
    return {"data": list(data.values()), "meta": {**counts, "results": results}}


def _as_given(call: Call, record: Record, given: frozenset[str]) -> Fragment:
    """Return of a contact what was given for it: who may not view contacts learns nothing else of it."""
    return partial_object(contacts.RESOURCE.type, record, call.house.api_url, given)


async def _found(call: Call) -> Found:
    found: Found = await glance(call, lambda snapshot: _find(snapshot, call))
    return found


def _find(snapshot: Snapshot, call: Call) -> Found:
    site_id = find(snapshot, contacts.RESOURCE, call.caller, call.id)
    return Found(call.caller, site_id, int(call.id))


def _linkage(call: Call, ids: Any) -> Answer:
    url = f"{call.house.api_url}/contacts/{call.id}/relationships/tags"
    return json_answer(200, linkage_document(tags.TYPE.name, ids, url))
