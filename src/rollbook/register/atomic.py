"""Atomic operations: several writes of any resources as one, with local ids for what is new."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from rollbook.jsonapi.errors import Refusal, Refused, refuse
from rollbook.jsonapi.reading import read_changed_resource, read_id, read_linkage, read_new_resource
from rollbook.jsonapi.resource import Record
from rollbook.register import contacts, sites, tagging, tags
from rollbook.register.callers import Caller
from rollbook.register.resource import Found, Resource, changed_item, find, new_item, removed_item, site_of
from rollbook.register.tagging import Tagging, Verb
from rollbook.storage.transactions import Snapshot, Transaction

VERBS = {"add": Verb.ADD, "remove": Verb.REMOVE, "update": Verb.REPLACE}


class Target(NamedTuple):
    """What an operation is about: a type, one resource by its id or local id, one of its relationships."""

    type: str
    id: str | None = None
    lid: str | None = None
    relationship: str | None = None


class Operation(NamedTuple):
    """One operation as it was sent; `where` is its place in the document."""

    op: str
    target: Target
    data: Any
    where: str


class Asked(NamedTuple):
    """Operations that a caller wants to be done together."""

    caller: Caller
    operations: Sequence[Operation]
    catalogue: Mapping[str, Resource]


class Done(NamedTuple):
    """What an operation made: a resource, or the linkage of a relationship as (type, ids), or nothing."""

    resource: Resource | None = None
    record: Record | None = None
    linkage: tuple[str, Sequence[int]] | None = None


LocalIds = dict[tuple[str, str], str]


def perform_many(transaction: Transaction, items: list[Asked]) -> list[list[Done]]:
    """Perform operations; raise Refused for the first that cannot be done, so that none of them stays."""
    # Each operation would lock its own site, whatever sites those before it have.
    contacts.lock_with_counts(
        transaction, {site_id for each in items for site_id in _sites_of(transaction, each)}
    )
    return [_perform(transaction, each) for each in items]


def _sites_of(snapshot: Snapshot, asked: Asked) -> set[int]:
    """Return the sites that operations may write in, of those that their caller sees."""
    if len(asked.caller.sites) == 1:
        return set(asked.caller.sites)
    of_new = {_site_sent(each.data) for each in asked.operations if each.op == "add"}
    targets = {(each.target.type, each.target.id) for each in asked.operations}
    of_targets = {
        site_of(snapshot, asked.catalogue[name], asked.caller, id_)
        for name, id_ in targets
        if id_ is not None and name in asked.catalogue
    }
    return {each for each in of_new | of_targets if each is not None} & asked.caller.sites


def _site_sent(data: Any) -> int | None:
    """Return the site that a new resource is sent for, where that can be told."""
    for name in ("relationships", "site", "data", "id"):
        data = data.get(name) if isinstance(data, dict) else None
    return read_id(str(data)) if isinstance(data, str | int) else None


def _perform(transaction: Transaction, asked: Asked) -> list[Done]:
    local_ids: LocalIds = {}
    results = []
    for operation in asked.operations:
        try:
            done = _do(transaction, asked, operation, local_ids)
        except Refused as refused:
            raise refused.within(f"{operation.where}/data") from None
        if done.record is not None and operation.target.type == sites.TYPE.name:
            # Only who sees all sites makes one, and later operations may use it.
            seen = asked.caller.sites | {done.record.id}
            asked = asked._replace(caller=replace(asked.caller, sites=seen))
        results.append(done)
    return results


def _do(transaction: Transaction, asked: Asked, operation: Operation, local_ids: LocalIds) -> Done:
    target = operation.target
    resource = asked.catalogue.get(target.type)
    if resource is None:
        raise refuse(Refusal.NOT_FOUND)
    try:
        document = {"data": _resolved(operation.data, local_ids)}
    except RecursionError:
        raise refuse(Refusal.BODY_NOT_OBJECT) from None
    if target.relationship is None and operation.op == "add":
        record = _create(transaction, asked.caller, resource, document)
        _remember(operation.data, target.type, record, local_ids)
        return Done(resource, record)
    resource_id = _id_of(target, local_ids)
    if target.relationship is not None:
        if (target.type, target.relationship) != (contacts.RESOURCE.type.name, "tags"):
            raise refuse(Refusal.NOT_FOUND)
        return _link(transaction, asked.caller, VERBS[operation.op], resource_id, document)
    if operation.op == "update":
        return Done(resource, _change(transaction, asked.caller, resource, resource_id, document))
    found = removed_item(transaction, resource, asked.caller, resource_id)
    if resource.removal is not None:
        _only(resource.removal.remove_many(transaction, [found]))
    return Done()


def _create(transaction: Transaction, caller: Caller, resource: Resource, document: dict[str, Any]) -> Record:
    draft = read_new_resource(resource.type, document)
    if resource.creation is None:
        raise refuse(Refusal.NOT_FOUND)
    new = new_item(resource, caller, draft)
    if new.problems:
        raise Refused(*resource.creation.all_problems(transaction, new))
    record: Record = _only(resource.creation.create_many(transaction, [new]))
    return record


def _change(
    transaction: Transaction, caller: Caller, resource: Resource, resource_id: str, document: dict[str, Any]
) -> Record:
    draft = read_changed_resource(resource.type, document, resource_id)
    if resource.change is None:
        raise refuse(Refusal.NOT_FOUND)
    item = changed_item(transaction, resource, caller, resource_id, draft)
    if item.problems:
        raise Refused(*resource.change.all_problems(transaction, item))
    record: Record = _only(resource.change.change_many(transaction, [item]))
    return record


def _link(
    transaction: Transaction, caller: Caller, verb: Verb, contact_id: str, document: dict[str, Any]
) -> Done:
    sent = read_linkage(document, tags.TYPE.name)
    site_id = find(transaction, contacts.RESOURCE, caller, contact_id)
    known = tags.ids_of_known(transaction, site_id, sent)
    caller.require(contacts.EDIT)
    asked = Tagging(Found(caller, site_id, int(contact_id)), verb, known)
    left = _only(tagging.write_many(transaction, [asked]))
    return Done() if verb is Verb.REMOVE else Done(linkage=(tags.TYPE.name, left))


def _only(outcomes: Sequence[Any]) -> Any:
    """Return the outcome of an operation on one item, or raise its refusal."""
    (outcome,) = outcomes
    if isinstance(outcome, Refused):
        raise outcome
    return outcome


def _id_of(target: Target, local_ids: LocalIds) -> str:
    if target.id is not None:
        return target.id
    if target.lid is not None and (target.type, target.lid) in local_ids:
        return local_ids[target.type, target.lid]
    raise refuse(Refusal.NOT_FOUND)


def _remember(data: Any, type_name: str, record: Record, local_ids: LocalIds) -> None:
    lid = data.get("lid") if isinstance(data, dict) else None
    if isinstance(lid, str):
        local_ids[type_name, lid] = str(record.id)


def _resolved(sent: Any, local_ids: LocalIds) -> Any:
    """Return a value with an id for each local id of an identifier that an earlier operation made."""
    if isinstance(sent, list):
        return [_resolved(each, local_ids) for each in sent]
    if not isinstance(sent, dict):
        return sent
    resolved = {
        name: value if name in ("attributes", "meta") else _resolved(value, local_ids)
        for name, value in sent.items()
    }
    known = local_ids.get((str(sent.get("type")), str(sent.get("lid"))))
    return resolved | ({"id": known} if known is not None and "id" not in sent else {})
