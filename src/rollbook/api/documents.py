"""The handlers of every resource: list, show, create; what differs stands in the declarations."""

from rollbook.api.calls import Call
from rollbook.api.http import Answer, json_answer
from rollbook.jsonapi.errors import Refusal, Refused, refuse
from rollbook.jsonapi.query import Query, fields_of, read_query
from rollbook.jsonapi.reading import read_new_resource
from rollbook.jsonapi.resource import Record
from rollbook.jsonapi.writing import (
    Collection,
    collection_document,
    included_objects,
    resource_object,
    single_document,
)
from rollbook.observations import ParametersIgnored
from rollbook.register.resource import OneAsked, PageAsked, is_short, one, page


async def create(call: Call) -> Answer:
    """Create a resource in a site: 201, or the first stage of refusals that applies (contract 1.3)."""
    resource, caller, database = call.of, call.caller, call.house.database
    if resource.creation is None:
        raise refuse(Refusal.NOT_FOUND)
    draft = read_new_resource(resource.type, call.body)
    site_id = caller.site(draft.related["site"])
    caller.require(resource.creation.permission)
    if draft.conflict is not None:
        raise Refused(draft.conflict)
    new = resource.creation.prepare(caller, site_id, draft)
    if new.problems:
        raise Refused(*await database.read(resource.creation.all_problems, new))
    record: Record = await database.write(resource.creation.create_many, new)
    api_url = call.house.api_url
    url = f"{api_url}/{resource.type.name}/{record.id}"
    document = single_document(resource_object(resource.type, record, api_url), url)
    return json_answer(201, document, headers=((b"location", url.encode()),))


async def list_page(call: Call) -> Answer:
    """Answer a page of a collection."""
    resource, query = call.of, _query(call)
    call.caller.require(resource.view_permission)
    asked = PageAsked(resource, query, call.caller.sites, call.house.catalogue)
    database = call.house.database
    collection = (
        database.glance(page, asked, several=True) if is_short(asked) else await database.read(page, asked)
    )
    document = collection_document(
        resource.type,
        collection,
        query,
        call.house.api_url,
        fields_of(query, resource.type),
        _included(call, query, collection),
    )
    return json_answer(200, document)


async def show(call: Call) -> Answer:
    """Answer one resource; one that the caller may not see is answered like an unknown id."""
    resource, query = call.of, _query(call)
    asked = OneAsked(resource, call.id, query.include, call.caller.sites, call.house.catalogue)
    found = call.house.database.glance(one, asked, several=bool(query.include))
    if found is None:
        raise refuse(Refusal.NOT_FOUND)
    call.caller.require(resource.view_permission)
    api_url, record = call.house.api_url, found.records[0]
    written = resource_object(resource.type, record, api_url, fields_of(query, resource.type))
    url = query.link(f"{api_url}/{resource.type.name}/{record.id}")
    return json_answer(200, single_document(written, url, _included(call, query, found)))


def _query(call: Call) -> Query:
    query = read_query(call.of.type, call.request.query)
    if query.unknown:
        call.house.observe(ParametersIgnored(call.of.type.name, len(query.unknown), call.request.request_id))
    return query


def _included(call: Call, query: Query, collection: Collection) -> list[dict[str, object]] | None:
    if not query.include:
        return None
    return included_objects(collection.included, query, call.house.api_url)
