"""Proves that cursors walk a whole collection, in both directions, whatever happens meanwhile."""

import base64
import json
import threading
from typing import Any

import pytest

from rollbook.register.catalogue import RESOURCES
from support import SiteWorld

SORTS = [
    (resource.type.name, sort)
    for resource in RESOURCES.values()
    for name in ("", *resource.type.sorts)
    for sort in ([name, f"-{name}"] if name else [""])
]


def fill(site: SiteWorld) -> None:
    in_site = {"site": {"data": {"type": "sites", "id": site.id}}}
    for number in range(7):
        name = f"name {number % 3}"
        made = site.create(name=name, email=f"p{number}@x.test")
        about = {"contact": {"data": {"type": "contacts", "id": made.json["data"]["id"]}}}
        for type_name, attributes, relationships in (
            ("contact_tags", {"name": f"tag {number}"}, in_site),
            ("custom_fields", {"title": name, "required": number % 2 == 0}, in_site),
            ("contact_notes", {"body": name}, about),
        ):
            document = {"data": {"attributes": attributes, "relationships": relationships}}
            assert site.client.post(f"/v1/{type_name}", document).status == 201


def walk(site: SiteWorld, path: str, link: str) -> list[str]:
    """Follow a link to the end; return the ids of each page, in the order of the collection."""
    ids: list[str] = []
    following: str | None = path
    while following:
        document = site.client.get(following.removeprefix(site.client.url)).json
        assert "total" not in document["meta"]
        page = [each["id"] for each in document["data"]]
        ids = [*ids, *page] if link == "next" else [*page, *ids]
        following = document["links"].get(link)
    return ids


@pytest.mark.parametrize(("type_name", "sort"), SORTS)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_walk_sees_what_pages_by_number_show(site: SiteWorld, type_name: str, sort: str, size: int) -> None:
    fill(site)
    path = f"/v1/{type_name}?filter[site_id]={site.id}&sort={sort}"
    expected = [each["id"] for each in site.client.get(f"{path}&page[size]=100").json["data"]]
    assert walk(site, f"{path}&page[size]={size}&page[after]=", "next") == expected
    assert walk(site, f"{path}&page[size]={size}&page[before]=", "prev") == expected


def test_links_are_absent_at_the_ends(site: SiteWorld) -> None:
    for number in range(3):
        site.create(email=f"p{number}@x.test")
    first = site.client.get("/v1/contacts?page[size]=2&page[after]=").json
    assert first["links"].keys() == {"self", "current", "next"}
    assert first["meta"] == {"page": {"size": 2}}
    last = site.client.get(first["links"]["next"].removeprefix(site.client.url)).json
    assert last["links"].keys() == {"self", "current", "prev"}
    back = site.client.get(last["links"]["prev"].removeprefix(site.client.url)).json
    assert [each["id"] for each in back["data"]] == [each["id"] for each in first["data"]]
    assert "prev" not in back["links"]


@pytest.mark.parametrize(
    "cursor", ["x", "%F0%9F%98%80", "WzFd", "W10", "bnVsbA", "WyItY3JlYXRlZF9hdCIsMSwyLDNd", "===="]
)
@pytest.mark.parametrize("parameter", ["page[after]", "page[before]"])
def test_a_broken_cursor_is_refused_by_name(site: SiteWorld, parameter: str, cursor: str) -> None:
    refused = site.client.get(f"/v1/contacts?{parameter}={cursor}")
    assert refused.status == 400
    assert refused.json["errors"][0]["source"] == {"parameter": parameter}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("custom_fields?sort=required", ["required", "x", 7]),
        ("custom_fields?sort=-handle", ["-handle", True, 7]),
        ("custom_fields?sort=handle,title", ["handle,title", 1, 2, 7]),
        ("custom_fields?sort=handle", ["handle", 1 << 53, 7]),
        ("contacts?sort=name", ["name", 5, 7]),
        ("contacts?sort=name", ["name", None, 7]),
        ("contacts?sort=name", ["name", ["x"], 7]),
        ("contacts?sort=name", ["name", "a\0b", 7]),
        ("contacts?sort=name", ["name", "x", "7"]),
        ("contacts?sort=name", ["name", "x", -7]),
    ],
)
@pytest.mark.parametrize("parameter", ["page[after]", "page[before]"])
def test_a_cursor_of_a_value_that_its_sort_cannot_have_is_refused(
    site: SiteWorld, parameter: str, path: str, place: list[Any]
) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")
    refused = site.client.get(f"/v1/{path}&{parameter}={cursor}")
    assert refused.status == 400
    assert refused.json["errors"][0]["source"] == {"parameter": parameter}


def test_a_cursor_of_another_sort_and_two_at_once_are_refused(site: SiteWorld) -> None:
    site.create(email="a@x.test")
    site.create(email="b@x.test")
    following = site.client.get("/v1/contacts?sort=name&page[size]=1&page[after]=").json["links"]["next"]
    path = following.removeprefix(site.client.url)
    assert site.client.get(path.replace("sort=name", "sort=email")).status == 400
    assert site.client.get(path + "&page[before]=").status == 400


def test_a_walk_amid_writers_sees_each_that_stays_exactly_once(site: SiteWorld) -> None:
    def batch(prefix: str, many: int) -> list[str]:
        items = [site.document(email=f"{prefix}{number}@x.test")["data"] for number in range(many)]
        results = site.client.post("/v1/contacts/batch", {"data": items}).json["meta"]["results"]
        return [each["id"] for each in results]

    stay, go = batch("stay", 1_000), batch("go", 300)
    stay += batch("late", 1_000)
    done = threading.Event()

    def disturb() -> None:
        client = type(site.client)(site.client.url, site.token)
        for at, each in enumerate(go):
            client.request("DELETE", f"/v1/contacts/{each}")
            client.post("/v1/contacts", site.document(email=f"new{at}@x.test"))
            renamed: Any = {"data": {"attributes": {"phone_number": str(at)}}}
            client.request("PATCH", f"/v1/contacts/{stay[at]}", renamed)
        client.close()
        done.set()

    writer = threading.Thread(target=disturb)
    writer.start()
    walks = 0
    while not done.is_set() or not walks:
        seen = walk(site, "/v1/contacts?page[size]=97&page[after]=", "next")
        assert len(seen) == len(set(seen))
        assert set(stay) <= set(seen)
        walks += 1
    writer.join()
