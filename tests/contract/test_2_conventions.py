"""Proves contract 2: paths, media types, pages, links, sorting, sparse fields, includes, the query parser."""

import json
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from rollbook.register.moments import now
from support import RunningServer, SiteWorld, wait_until

NOT_FOUND = {
    "errors": [
        {
            "status": "404",
            "source": None,
            "title": "Not Found",
            "detail": "The requested resource could not be found",
        }
    ]
}


def names(site: SiteWorld, query: str) -> list[str]:
    reply = site.client.get(f"/v1/contacts?{query}")
    assert reply.status == 200
    return [each["attributes"]["name"] for each in reply.json["data"]]


def crowd(site: SiteWorld, *people: str) -> list[str]:
    """Create a contact for each name, and return their ids."""
    replies = [site.create(name=name, email=f"{number}@x.test") for number, name in enumerate(people)]
    return [reply.json["data"]["id"] for reply in replies]


@pytest.mark.parametrize("prefix", ["/v1", "/api/v1"])
def test_both_prefixes_lead_to_the_same(server: RunningServer, site: SiteWorld, prefix: str) -> None:
    made = site.client.post(f"{prefix}/contacts", site.document(email="a@b.c"))
    contact_id = made.json["data"]["id"]
    assert made.headers["location"] == f"{server.url}/v1/contacts/{contact_id}"
    shown = site.client.get(f"{prefix}/contacts/{contact_id}").json
    assert shown["links"]["self"] == f"{server.url}/v1/contacts/{contact_id}"
    listed = site.client.get(f"{prefix}/contacts").json
    assert listed["links"]["self"] == f"{server.url}/v1/contacts"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/members"), ("PUT", "/v1/contacts"), ("PATCH", "/v1/contacts"), ("DELETE", "/v1/sites"),
     ("POST", "/v1/contacts/import"), ("GET", "/v1/contacts/1/offers"), ("POST", "/v1/sites"), ("GET", "/v1"),
     ("OPTIONS", "/v1/contacts"), ("GET", "/"), ("GET", "/v2/contacts"), ("GET", "/v1/contacts/"),
     ("GET", "/v1/contacts/abc"), ("GET", "/v1/contacts/0"), ("GET", "/v1/contacts/%00"), ("GET", "/docs/x.js")],
)  # fmt: skip
def test_what_does_not_exist_is_answered_404_as_json_api(site: SiteWorld, method: str, path: str) -> None:
    reply = site.client.request(method, path)
    assert (reply.status, reply.headers["content-type"]) == (404, "application/vnd.api+json")
    assert reply.json == NOT_FOUND


@pytest.mark.parametrize(
    "path", ["/v1/contacts", "/v1/contacts/{}", "/v1/sites", "/v1/me", "/v1/version", "/livez"]
)
def test_head_answers_as_get_without_the_body(site: SiteWorld, path: str) -> None:
    path = path.replace("{}", crowd(site, "A")[0])
    got, head = site.client.get(path), site.client.request("HEAD", path)
    assert (head.status, head.body) == (got.status, b"")
    for name in ("content-type", "content-length"):
        assert head.headers[name] == got.headers[name]


@pytest.mark.parametrize(
    "sent", ["application/json", "text/plain", "application/x-www-form-urlencoded", "", "x"]
)
@pytest.mark.parametrize("accept", ["application/json", "*/*", "text/html", ""])
def test_any_media_types_are_taken(site: SiteWorld, sent: str, accept: str) -> None:
    body = json.dumps(site.document(email="a@b.c"))
    reply = site.client.post("/v1/contacts", body=body, headers={"Content-Type": sent, "Accept": accept})
    assert (reply.status, reply.headers["content-type"]) == (201, "application/vnd.api+json")


def test_a_list_has_four_counts_and_two_links(server: RunningServer, site: SiteWorld) -> None:
    reply = site.client.get("/v1/contacts")
    url = f"{server.url}/v1/contacts"
    assert reply.json == {
        "data": [],
        "links": {"self": url, "current": url},
        "meta": {"total": 0, "total_count": 0, "total_pages": 1, "current_page": 1},
    }


def test_links_lead_through_all_pages_and_are_absent_where_they_lead_nowhere(
    server: RunningServer, site: SiteWorld
) -> None:
    crowd(site, *"EDCBA")
    url, rest = f"{server.url}/v1/contacts", "filter[subscribed]=false&page[size]=2&sort=name"

    def page(number: int) -> str:
        return f"{url}?{rest}&page[number]={number}"

    first = site.client.get(f"/v1/contacts?{rest}").json
    assert first["links"] == {
        "self": f"{url}?{rest}", "current": f"{url}?{rest}", "next": page(2), "last": page(3)
    }  # fmt: skip
    second = site.client.get(first["links"]["next"].removeprefix(server.url)).json
    assert second["links"] == {
        "self": page(2), "current": page(2), "first": page(1), "prev": page(1), "next": page(3), "last": page(3),
    }  # fmt: skip
    third = site.client.get(second["links"]["next"].removeprefix(server.url)).json
    assert third["links"] == {"self": page(3), "current": page(3), "first": page(1), "prev": page(2)}
    found = [each["attributes"]["name"] for each in first["data"] + second["data"] + third["data"]]
    assert found == list("ABCDE")
    assert third["meta"] == {"total": 5, "total_count": 5, "total_pages": 3, "current_page": 3}


@pytest.mark.parametrize("encoded", [True, False])
def test_an_email_with_a_plus_survives_the_links(
    server: RunningServer, site: SiteWorld, encoded: bool
) -> None:
    site.create(email="ines+news@example.test")
    site.create(email="ines+news@example.test.org")
    value = quote("ines+news@example.test", safe="" if encoded else "+@")
    listed = site.client.get(f"/v1/contacts?filter[email_contains]={value}&page[size]=1").json
    assert listed["meta"]["total"] == 2
    following = urlsplit(listed["links"]["next"])
    assert "filter[email_contains]=" in following.query
    after = site.client.get(f"{following.path}?{following.query}").json
    assert (after["meta"]["total"], len(after["data"])) == (2, 1)


@pytest.mark.parametrize(
    ("query", "size", "number"),
    [("", 30, 1), ("page[size]=0", 30, 1), ("page[size]=-5", 30, 1), ("page[size]=x", 30, 1), ("page[size]=", 30, 1),
     ("page[size]=1001", 1000, 1), ("page[size]=99999999999999999999", 1000, 1), ("page[number]=0", 30, 1),
     ("page[number]=-1", 30, 1), ("page[number]=1.5", 30, 1), ("page[number]=x&page[size]=3", 3, 1),
     ("page%5Bnumber%5D=2&page%5Bsize%5D=20", 20, 2), ("page[size]=7&page[size]=20", 20, 1),
     ("page=2&limit=3&per_page=3", 30, 1)],
)  # fmt: skip
def test_a_bad_page_is_never_an_error(site: SiteWorld, query: str, size: int, number: int) -> None:
    crowd(site, *(str(each) for each in range(35)))
    reply = site.client.get(f"/v1/contacts?{query}").json
    assert len(reply["data"]) == min(size, 35 - (number - 1) * size)
    assert reply["meta"] == {
        "total": 35, "total_count": 35, "total_pages": -(-35 // size), "current_page": number
    }  # fmt: skip


def test_a_page_beyond_the_end_is_empty_and_knows_the_total(site: SiteWorld) -> None:
    crowd(site, "A")
    for query in ("", "&filter[search]=a", "&filter[subscribed]=0"):
        reply = site.client.get(f"/v1/contacts?page[number]=99999999999{query}").json
        assert (reply["data"], reply["meta"]["total"], reply["meta"]["total_pages"]) == ([], 1, 1)


def test_sorting_ignores_case_and_ends_in_the_order_of_ids(site: SiteWorld) -> None:
    ids = crowd(site, "b", "A", "B", "a", "C", "Ä", "ａ")
    by_name = site.client.get("/v1/contacts?sort=name").json["data"]
    assert [each["id"] for each in by_name] == [ids[place] for place in (1, 3, 6, 0, 2, 4, 5)]
    downwards = site.client.get("/v1/contacts?sort=-name").json["data"]
    assert [each["id"] for each in downwards] == [ids[place] for place in (5, 4, 0, 2, 1, 3, 6)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [("sort=name", "ABC"), ("sort=-name", "CBA"), ("sort=email", "BCA"), ("sort=-email", "ACB"),
     ("sort=created_at", "BCA"), ("sort=-created_at", "ACB"), ("", "ACB"), ("sort=unknown", "ACB"),
     ("sort=unknown,name", "ABC"), ("sort=", "ACB"), ("sort=name,name,-name", "ABC"), ("sort=--name", "ACB")],
)  # fmt: skip
def test_every_sort_and_the_default(site: SiteWorld, query: str, expected: str) -> None:
    for number, name in enumerate("BCA"):
        made = site.create(name=name, email=f"{number}@x.test").json["data"]["attributes"]["created_at"]
        # Contacts of one millisecond count as made at once; these are not.
        wait_until(lambda made=made: now() > made, 1)
    assert "".join(names(site, query)) == expected


@pytest.mark.parametrize("of_type", ["contacts", "contact"])
def test_sparse_fields_filter_attributes_alone(site: SiteWorld, of_type: str) -> None:
    (contact_id,) = crowd(site, "A")
    for path in (f"/v1/contacts/{contact_id}", "/v1/contacts"):
        whole = site.client.get(path).json["data"]
        sparse = site.client.get(f"{path}?fields[{of_type}]=email,unknown,name").json["data"]
        whole, sparse = (whole[0], sparse[0]) if isinstance(whole, list) else (whole, sparse)
        assert sparse == whole | {"attributes": {"name": "A", "email": "0@x.test"}}
    assert site.client.get(f"/v1/contacts/{contact_id}?fields[contacts]=").json["data"]["attributes"] == {}


def test_include_adds_each_related_resource_once(site: SiteWorld) -> None:
    ids = crowd(site, "A", "B")
    the_site = site.client.get(f"/v1/sites/{site.id}").json["data"]
    for path in ("/v1/contacts", f"/v1/contacts/{ids[0]}"):
        assert site.client.get(f"{path}?include=site,site,tags,offers,customer").json["included"] == [
            the_site
        ]
        assert site.client.get(f"{path}?include=tags").json["included"] == []
        assert "included" not in site.client.get(f"{path}?include=").json
        sparse = site.client.get(f"{path}?include=site&fields[site]=title").json["included"][0]
        assert list(sparse["attributes"]) == ["title"]


@pytest.mark.parametrize("path", ["/v1/contacts", "/v1/contacts/1", "/v1/sites"])
def test_an_unknown_include_is_refused_by_name(site: SiteWorld, path: str) -> None:
    reply = site.client.get(f"{path}?include=nobody")
    assert reply.status == 400
    assert reply.json["errors"] == [
        {
            "status": "400",
            "source": {"parameter": "include"},
            "title": "Bad Request",
            "detail": "nobody is not a supported include",
        }
    ]


@pytest.mark.parametrize(
    "query",
    ["&=true&", "&&name&&", "=&=", "filter[search]=", "filter[unknown]=x", "filter[exclude][]=a&filter[exclude][]=b",
     "filter=x", "filter[]=x", "[]=x", "fields[]=x", "fields[people]=x", "%ff=%ff", "filter[search", "x[y][z]=1"],
)  # fmt: skip
def test_what_means_nothing_is_ignored(site: SiteWorld, query: str) -> None:
    crowd(site, "A")
    assert names(site, query) == ["A"]


def test_ignored_parameters_are_counted_in_the_log(server: RunningServer, site: SiteWorld) -> None:
    site.client.get(
        "/v1/contacts?secret_word=1&limit=2&page[size]=3", headers={"X-Request-Id": f"ignored-{site.id}"}
    )
    (line,) = [
        each
        for each in server.log_lines()
        if each["event"] == "parameters_ignored" and each["request_id"] == f"ignored-{site.id}"
    ]
    assert line["parameters"] == 2
    assert "secret_word" not in server.log.read_text()


def test_what_a_write_answered_is_found_by_the_next_read(site: SiteWorld) -> None:
    for number in range(20):
        contact_id = site.create(name=f"Name {number}", email=f"{number}@x.test").json["data"]["id"]
        for query in (f"filter[search]={number}@x", f"filter[email]={number}@x.test", "page[size]=1"):
            found: list[dict[str, Any]] = site.client.get(f"/v1/contacts?{query}").json["data"]
            assert contact_id in [each["id"] for each in found]
