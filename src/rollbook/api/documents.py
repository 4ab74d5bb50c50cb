"""The handlers of every resource: create, list, show, change, delete; what differs is in the declarations."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from orjson import Fragment

from rollbook.api import entity_tags
from rollbook.api.calls import Call
from rollbook.api.http import Answer, json_answer, json_bytes
from rollbook.api.retries import write
from rollbook.jsonapi.errors import Problem, Refusal, Refused, refuse
from rollbook.jsonapi.query import Query, fields_of, parameter_names, read_query
from rollbook.jsonapi.reading import read_changed_resource, read_new_resource
from rollbook.jsonapi.resource import Record
from rollbook.jsonapi.writing import (
    Collection,
    collection_document,
    included_objects,
    resource_document,
    resource_object,
    single_document,
)
from rollbook.observations import ParametersIgnored
from rollbook.register.looks import is_short, may_be_short
from rollbook.register.resource import (
    OneAsked,
    PageAsked,
    Resource,
    changed_item,
    each_one,
    missing,
    new_item,
    page,
    removed_item,
)
from rollbook.storage.transactions import Snapshot

# A create of more bytes is not done while everybody waits.
LONGEST_SHORT_BODY = 8_192


async def create(call: Call) -> Answer:
    """Create a resource: 201, or the first stage of refusals that applies (contract 1.3)."""
    resource = call.of
    draft = read_new_resource(resource.type, call.document)
    if resource.creation is None:
        raise refuse(Refusal.NOT_FOUND)
    new = new_item(resource, call.caller, draft)
    if new.problems:
        raise Refused(*await call.house.database.read(resource.creation.all_problems, new))

    def created(record: Record) -> Answer:
        body = document_of(call, resource, record)
        location = url_of(call, resource, record).encode()
        return Answer(201, body, headers=((b"location", location), entity_tags.header(body)))

    is_short_write = len(call.body) <= LONGEST_SHORT_BODY and not resource.creation.locks_sites
    return await write(call, resource.creation.create_many, new, created, is_short=is_short_write)


def list_page(call: Call) -> Awaitable[Answer]:
    """Answer a page of a collection."""
    query = query_of(call, call.of)
    require_views(call, query)
    return answer_page(call, call.of, query)


async def show(call: Call) -> Answer:
    """Answer one resource; one that the caller may not see is answered like an unknown id."""
    resource, query = call.of, query_of(call, call.of)
    asked = OneAsked(resource, call.id, query.include, call.caller.sites, call.house.catalogue)
    found = await call.house.database.glance_at_each(
        each_one, asked, several=bool(query.include), as_of=call.as_of
    )
    if found is None:
        raise await glance(call, lambda snapshot: missing(snapshot, resource, call.caller, call.id))
    require_views(call, query)
    record = found.records[0]
    whole = body = document_of(call, resource, record)
    if query.pairs:
        written = resource_object(resource.type, record, call.house.api_url, fields_of(query, resource.type))
        url = query.link(url_of(call, resource, record))
        body = json_bytes(single_document(written, url, _included(call, query, found)))
    # What is included changes without the resource, hence the second part of such a document's tag.
    tag = entity_tags.of(whole, body if query.include else None)
    return entity_tags.answer(call.request, body, tag)


async def change(call: Call) -> Answer:
    """Change a resource: 200 with the whole of it, or the first stage of refusals that applies."""
    resource = call.of
    draft = read_changed_resource(resource.type, call.document, call.id)
    if resource.change is None:
        raise refuse(Refusal.NOT_FOUND)
    if_match = entity_tags.if_match(call, resource)
    item = await glance(
        call, lambda snapshot: changed_item(snapshot, resource, call.caller, call.id, draft, if_match)
    )
    if item.problems:
        raise Refused(*await call.house.database.read(resource.change.all_problems, item))
    return await write(call, resource.change.change_many, item, lambda record: shown(call, resource, record))


async def remove(call: Call) -> Answer:
    """Delete a resource: 200 with `{"data":{}}`."""
    resource = call.of
    if resource.removal is None:
        raise refuse(Refusal.NOT_FOUND)
    if_match = entity_tags.if_match(call, resource)
    found = await glance(
        call, lambda snapshot: removed_item(snapshot, resource, call.caller, call.id, if_match)
    )
    return await write(call, resource.removal.remove_many, found, lambda _nothing: json_answer(200, NO_DATA))


NO_DATA: dict[str, Any] = {"data": {}}


async def answer_page(call: Call, resource: Resource, query: Query, path: str = "") -> Answer:
    """Answer the page of a collection that a query asks for; `path` is where it is, below the API's URL."""
    asked = PageAsked(resource, query, call.caller.sites, call.house.catalogue)
    database = call.house.database
    if is_short(asked):
        collection = await database.glance(page, asked, several=True, as_of=call.as_of)
    elif may_be_short(asked):
        # A list is a page and a count.
        several = bool(query.include) or not asked.filters_and_sites[0]
        collection = await database.glance_or_read(page, asked, several=several, as_of=call.as_of)
    else:
        collection = await database.read(page, asked, as_of=call.as_of)
    document = collection_document(
        resource.type,
        collection,
        query,
        call.house.api_url,
        fields_of(query, resource.type),
        _included(call, query, collection),
        path,
    )
    return json_answer(200, document)


def query_of(call: Call, resource: Resource) -> Query:
    """Return what a request asks of a resource type.

    Raises Refused, where the server is strict, for parameters that mean nothing.
    """
    query = read_query(resource.type, call.request.query)
    if query.unknown:
        if call.house.strict:
            raise Refused(*(Problem(Refusal.PARAMETER_UNKNOWN, name) for name in query.unknown))
        call.house.observe(ParametersIgnored(resource.type.name, len(query.unknown), call.request.request_id))
    return query


def require_views(call: Call, query: Query) -> None:
    """Raise Refused where the caller may not view the resource that is asked for, or what it includes."""
    call.caller.require(call.of.view_permission)
    for name in query.include:
        target = call.house.catalogue.get(call.of.type.includable[name].target)
        if target is not None:
            call.caller.require(target.view_permission)


def judge_parameters(call: Call) -> None:
    """Refuse, where the server is strict, every parameter of a call that takes none.

    On relationships, pages and filters are ignored even then (contract 2.6).
    """
    if not call.house.strict:
        return
    names = parameter_names(call.request.query)
    if "/relationships/" in call.request.path:
        names = [name for name in names if not name.startswith(("page[", "filter["))]
    if names:
        raise Refused(*(Problem(Refusal.PARAMETER_UNKNOWN, name) for name in names))


def document_of(call: Call, resource: Resource, record: Record) -> bytes:
    """Return the document of one resource, whole, as a request without a query gets it."""
    return resource_document(resource.type, record, call.house.api_url)


def shown(call: Call, resource: Resource, record: Record) -> Answer:
    """Answer one resource, whole, with its entity tag."""
    body = document_of(call, resource, record)
    return Answer(200, body, headers=(entity_tags.header(body),))


def url_of(call: Call, resource: Resource, record: Record) -> str:
    """Return the URL of a resource."""
    return f"{call.house.api_url}/{resource.type.name}/{record.id}"


async def glance(call: Call, look: Callable[[Snapshot], Any]) -> Any:
    """Look the few things up that a request needs before it writes."""
    return await call.house.database.glance(lambda snapshot, _none: look(snapshot), None, several=True)


def _included(call: Call, query: Query, collection: Collection) -> Sequence[Fragment] | None:
    if not query.include:
        return None
    return included_objects(collection.included, query, call.house.api_url)
