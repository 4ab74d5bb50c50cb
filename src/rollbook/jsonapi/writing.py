"""Turns records into documents: linkage, included resources, sparse fieldsets, links and meta."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rollbook.jsonapi.query import AFTER, BEFORE, Page, Query, fields_of
from rollbook.jsonapi.resource import Record, ResourceType


class Collection(NamedTuple):
    """One page of records, the exact number of all that match, and what the page includes.

    A page by cursor has the cursors before and after it instead of the number.
    """

    records: Sequence[Record]
    total: int
    included: Sequence[tuple[ResourceType, Sequence[Record]]] = ()
    cursors: tuple[str | None, str | None] = (None, None)


def resource_object(
    resource: ResourceType, record: Record, api_url: str, fields: frozenset[str] | None = None
) -> dict[str, Any]:
    """Return the resource object of a record (JSON:API 1.1, "Resource Objects").

    Sparse fieldsets leave the relationships alone: clients in the field rely on them.
    """
    attributes = record.attributes
    if fields is not None:
        attributes = {name: value for name, value in attributes.items() if name in fields}
    written: dict[str, Any] = {"id": str(record.id), "type": resource.name, "attributes": attributes}
    if resource.relationships:
        base = f"{api_url}/{resource.name}/{record.id}/relationships/"
        written["relationships"] = relationships = {}
        for name, target, linked in resource.linked_names:
            found = record.linkage[name]
            data: Any = found
            if isinstance(found, int):
                data = {"id": str(found), "type": target}
            elif found is not None:
                data = [{"id": str(each), "type": target} for each in found] if found else []
            if linked:
                relationships[name] = {"data": data, "links": {"self": base + name}}
            else:
                relationships[name] = {"data": data}
    if resource.links:
        written["links"] = resource.links
    return written


def single_document(
    written: dict[str, Any], url: str, included: Sequence[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Return the document of one resource object, whose own URL is `url`."""
    document: dict[str, Any] = {"data": written}
    if included is not None:
        document["included"] = included
    document["links"] = {"self": url, "current": url}
    return document


def collection_document(
    resource: ResourceType,
    collection: Collection,
    query: Query,
    api_url: str,
    fields: frozenset[str] | None = None,
    included: Sequence[dict[str, Any]] | None = None,
    path: str = "",
) -> dict[str, Any]:
    """Return the document of one page of a collection, with its links and its meta.

    `path` is where the collection is, below `api_url`; by default its type's name.
    """
    document: dict[str, Any] = {
        "data": [resource_object(resource, record, api_url, fields) for record in collection.records]
    }
    if included is not None:
        document["included"] = included
    url = f"{api_url}/{path or resource.name}"
    if query.page.cursor is None:
        document["links"] = _page_links(query, url, collection.total)
        document["meta"] = {
            "total": collection.total,
            "total_count": collection.total,
            "total_pages": _last_page(query.page, collection.total),
            "current_page": query.page.number,
        }
    else:
        document["links"] = _cursor_links(query, url, collection.cursors)
        document["meta"] = {"page": {"size": query.page.size}}
    if query.unsupported:
        document["meta"]["unsupported_filters"] = query.unsupported
    return document


def linkage_document(target: str, ids: Iterable[int], url: str) -> dict[str, Any]:
    """Return the document of a to-many relationship (JSON:API 1.1, "Fetching Relationships")."""
    return {"data": [{"type": target, "id": str(each)} for each in ids], "links": {"self": url}}


def included_objects(
    compound: Iterable[tuple[ResourceType, Sequence[Record]]], query: Query, api_url: str
) -> list[dict[str, Any]]:
    """Return the resource objects of a compound document's `included` member."""
    return [
        resource_object(resource, record, api_url, fields_of(query, resource))
        for resource, records in compound
        for record in records
    ]


def _last_page(page: Page, total: int) -> int:
    return max(1, -(-total // page.size))


def _page_links(query: Query, url: str, total: int) -> dict[str, str]:
    """Return the links of a page; those that lead nowhere are absent."""
    page, last = query.page.number, _last_page(query.page, total)
    own = query.link(url)
    links = {"self": own, "current": own}
    if page > 1:
        links["first"] = query.link(url, 1)
        links["prev"] = query.link(url, page - 1)
    if page < last:
        links["next"] = query.link(url, page + 1)
        links["last"] = query.link(url, last)
    return links


def _cursor_links(query: Query, url: str, cursors: tuple[str | None, str | None]) -> dict[str, str]:
    own = query.link(url)
    links = {"self": own, "current": own}
    before, after = cursors
    if before is not None:
        links["prev"] = query.cursor_link(url, BEFORE, before)
    if after is not None:
        links["next"] = query.cursor_link(url, AFTER, after)
    return links
