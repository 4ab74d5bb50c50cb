"""Proves the documents that records are written as, with their links, counts and sparse fieldsets."""

from itertools import count
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonapi.worlds import API_URL, BOATS, SAILORS, boat, sailor

from rollbook.jsonapi import writing
from rollbook.jsonapi.query import read_query
from rollbook.jsonapi.resource import Record, ResourceType
from rollbook.jsonapi.writing import Collection

pytestmark = pytest.mark.sqlite

URL = f"{API_URL}/boats"


def read(written: Any) -> Any:
    """Return what a client reads in what was written."""
    return orjson.loads(orjson.dumps(written))


def resource_object(of: ResourceType, record: Record, fields: frozenset[str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = read(writing.resource_object(of, record, API_URL, fields))
    return found


def collection_document(*asked: Any, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = read(writing.collection_document(*asked, **more))
    return found


def test_a_record_becomes_a_resource_object_with_all_its_relationships() -> None:
    written = resource_object(BOATS, boat(17, owner=4, crew=(4, 5)))
    assert written == {
        "id": "17",
        "type": "boats",
        "attributes": {"name": "Boat 17", "home_port": None, "insured": False, "flag_2": "red"},
        "relationships": {
            "harbour": {"data": {"id": "3", "type": "harbours"}},
            "owner": {"data": {"id": "4", "type": "sailors"}},
            "crew": {
                "data": [{"id": "4", "type": "sailors"}, {"id": "5", "type": "sailors"}],
                "links": {"self": f"{URL}/17/relationships/crew"},
            },
        },
        "links": {"owner": ""},
    }


def test_nobody_is_null_and_none_of_many_is_an_empty_list() -> None:
    relationships = resource_object(BOATS, boat(1))["relationships"]
    assert relationships["owner"] == {"data": None}
    assert relationships["crew"]["data"] == []


def test_a_type_without_relationships_and_links_has_no_such_members() -> None:
    assert resource_object(SAILORS, sailor(4)) == {
        "id": "4",
        "type": "sailors",
        "attributes": {"name": "Sailor 4", "rank": None},
    }


@given(
    fields=st.frozensets(
        st.sampled_from(["name", "home_port", "insured", "flag_2", "crew", "id", "colour", ""])
    )
)
def test_sparse_fieldsets_choose_attributes_and_never_drop_anything_else(fields: frozenset[str]) -> None:
    whole: dict[str, Any] = resource_object(BOATS, boat(17, owner=4, crew=(4,)))
    sparse = resource_object(BOATS, boat(17, owner=4, crew=(4,)), fields)
    assert list(sparse["attributes"]) == [name for name in whole["attributes"] if name in fields]
    assert sparse | {"attributes": whole["attributes"]} == whole


def test_what_a_format_would_read_as_its_own_is_written_as_it_is() -> None:
    odd = 'http://a.example.test/%d%%b/\N{SNOWMAN}"'
    record = Record(1, {"name": "100 %d %b \x00 \x01"}, boat(1, crew=(2,)).linkage)
    found = read(writing.resource_object(BOATS, record, odd))
    assert found["attributes"] == record.attributes
    assert found["relationships"]["crew"]["links"]["self"] == f"{odd}/boats/1/relationships/crew"


def test_a_single_document_has_its_own_url_twice_and_no_meta() -> None:
    written = writing.resource_object(BOATS, boat(17), API_URL)
    assert read(writing.single_document(written, f"{URL}/17")) == {
        "data": resource_object(BOATS, boat(17)),
        "links": {"self": f"{URL}/17", "current": f"{URL}/17"},
    }


def test_included_is_there_when_asked_for_even_when_it_is_empty() -> None:
    written = writing.resource_object(BOATS, boat(17), API_URL)
    assert writing.single_document(written, f"{URL}/17", [])["included"] == []
    query = read_query(BOATS, b"include=crew")
    page = Collection([boat(17)], 1)
    assert collection_document(BOATS, page, query, API_URL, included=[])["included"] == []
    assert "included" not in collection_document(BOATS, page, query, API_URL)


@pytest.mark.parametrize("of_type", ["sailors", "sailor"])
def test_what_is_included_has_the_fields_asked_for_of_its_own_type(of_type: str) -> None:
    query = read_query(BOATS, f"include=crew&fields[{of_type}]=rank&fields[boats]=name".encode())
    assert read(writing.included_objects([(SAILORS, [sailor(4), sailor(5)])], query, API_URL)) == [
        {"id": "4", "type": "sailors", "attributes": {"rank": None}},
        {"id": "5", "type": "sailors", "attributes": {"rank": None}},
    ]


def page_of(total: int, query_string: str) -> dict[str, Any]:
    """Return the page of a harbour with so many boats, as a server would answer the query."""
    query = read_query(BOATS, query_string.encode())
    everything = range(1, total + 1)
    records = [boat(each) for each in everything[query.page.offset : query.page.offset + query.page.size]]
    return collection_document(BOATS, Collection(records, total), query, API_URL)


def test_the_only_page_links_to_itself_alone() -> None:
    assert page_of(7, "")["links"] == {"self": URL, "current": URL}
    assert page_of(0, "")["meta"] == {"total": 0, "total_count": 0, "total_pages": 1, "current_page": 1}


def test_a_page_in_the_middle_links_to_its_neighbours_and_to_both_ends() -> None:
    document = page_of(20, "sort=name&page[number]=2&page[size]=5")
    rest = f"{URL}?sort=name&page[size]=5&page[number]="
    assert document["links"] == {
        "self": f"{URL}?sort=name&page[number]=2&page[size]=5",
        "current": f"{URL}?sort=name&page[number]=2&page[size]=5",
        "first": rest + "1",
        "prev": rest + "1",
        "next": rest + "3",
        "last": rest + "4",
    }
    assert document["meta"] == {"total": 20, "total_count": 20, "total_pages": 4, "current_page": 2}


def test_a_page_beyond_the_end_is_empty_and_leads_back() -> None:
    document = page_of(3, "page[number]=9")
    assert document["data"] == []
    assert set(document["links"]) == {"self", "current", "first", "prev"}
    assert document["meta"] == {"total": 3, "total_count": 3, "total_pages": 1, "current_page": 9}


@given(total=st.integers(0, 60), size=st.integers(1, 20))
def test_whoever_follows_next_sees_everything_once_and_ends_at_last(total: int, size: int) -> None:
    seen: list[str] = []
    query = f"page[size]={size}"
    for number in count(1):
        document = page_of(total, query)
        seen += [each["id"] for each in document["data"]]
        links, meta = document["links"], document["meta"]
        assert meta["current_page"] == number
        assert ("prev" in links) == ("first" in links) == (number > 1)
        assert ("next" in links) == ("last" in links) == (number < meta["total_pages"])
        if "next" not in links:
            break
        query = links["next"].partition("?")[2]
    assert seen == [str(each) for each in range(1, total + 1)]
    assert number == meta["total_pages"] == max(1, -(-total // size))
