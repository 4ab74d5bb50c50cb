"""Turns records into documents: linkage, included resources, sparse fieldsets, links and meta."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from orjson import Fragment

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


class Frame(NamedTuple):
    """What all resource objects of a type have in common, as JSON with places for the rest.

    The places are for the id, the attributes, and for each relationship its data and, where it is linked,
    the id again. `relationships` has for each its name, an identifier with a place for the id, what stands
    for none, and whether it is linked.
    """

    text: bytes
    relationships: tuple[tuple[str, bytes, bytes, bool], ...]


def resource_object(
    resource: ResourceType, record: Record, api_url: str, fields: frozenset[str] | None = None
) -> Fragment:
    """Return the resource object of a record (JSON:API 1.1, "Resource Objects"), as JSON.

    Sparse fieldsets leave the relationships alone: clients in the field rely on them.
    """
    return Fragment(_written(_frame(resource, api_url), record, fields))


def partial_object(resource: ResourceType, record: Record, api_url: str, names: frozenset[str]) -> Fragment:
    """Return the resource object of a record with no other attributes and relationships than these."""
    whole = orjson.loads(_written(_frame(resource, api_url), record, names))
    related = whole["relationships"]
    whole["relationships"] = {name: related[name] for name in related if name in names}
    return Fragment(orjson.dumps(whole))


def _written(frame: Frame, record: Record, fields: frozenset[str] | None) -> bytes:
    number, attributes, linkage = record
    if fields is not None:
        attributes = {name: value for name, value in attributes.items() if name in fields}
    places: list[int | bytes] = [number, orjson.dumps(attributes)]
    for name, identifier, nothing, linked in frame.relationships:
        found = linkage[name]
        if not found:
            places.append(nothing)
        elif isinstance(found, int):
            places.append(identifier % found)
        else:
            places.append(b"[" + b",".join([identifier % each for each in found]) + b"]")
        if linked:
            places.append(number)
    return frame.text % tuple(places)


@lru_cache(maxsize=64)
def _frame(resource: ResourceType, api_url: str) -> Frame:
    """Return the frame of a type: filling its places takes half as long as dumping the whole."""
    place, number = "\x00", "\x01"
    written: dict[str, Any] = {"id": number, "type": resource.name, "attributes": place}
    relationships = []
    for each in resource.relationships:
        url = f"{api_url}/{resource.name}/{number}/relationships/{each.name}"
        links = {"links": {"self": url}} if each.linked else {}
        written.setdefault("relationships", {})[each.name] = {"data": place} | links
        identifier = _with_places({"id": number, "type": each.target}, place, number)
        relationships.append((each.name, identifier, b"[]" if each.to_many else b"null", each.linked))
    if resource.links:
        written["links"] = resource.links
    return Frame(_with_places(written, place, number), tuple(relationships))


def _with_places(document: dict[str, Any], place: str, number: str) -> bytes:
    """Return a document as a format: the texts that mark places become those of bytes and of numbers."""
    text = orjson.dumps(document).replace(b"%", b"%%")
    return text.replace(orjson.dumps(place), b"%b").replace(orjson.dumps(number)[1:-1], b"%d")


def resource_document(resource: ResourceType, record: Record, api_url: str) -> bytes:
    """Return the document of one resource, whole, as a request without a query gets it."""
    written = _written(_frame(resource, api_url), record, None)
    return _document_frame(resource, api_url) % (written, record.id, record.id)


@lru_cache(maxsize=64)
def _document_frame(resource: ResourceType, api_url: str) -> bytes:
    place, number = "\x00", "\x01"
    return _with_places(single_document(place, f"{api_url}/{resource.name}/{number}"), place, number)


def single_document(
    written: Fragment | str, url: str, included: Sequence[Fragment] | None = None
) -> dict[str, Any]:
    """Return the document of one resource object, or of what stands for it, whose own URL is `url`."""
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
    included: Sequence[Fragment] | None = None,
    path: str = "",
) -> dict[str, Any]:
    """Return the document of one page of a collection, with its links and its meta.

    `path` is where the collection is, below `api_url`; by default its type's name.
    """
    frame = _frame(resource, api_url)
    written = [_written(frame, record, fields) for record in collection.records]
    document: dict[str, Any] = {"data": Fragment(b"[" + b",".join(written) + b"]")}
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
) -> list[Fragment]:
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
