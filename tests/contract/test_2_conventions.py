"""Proves contract 2: paths, media types, pages, links, sorting, sparse fields, includes, the query parser."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from contract.answers import (
    EMAIL_INVALID,
    MOMENT,
    Json,
    assert_refused,
    change,
    document,
    identifiers,
    ids,
    key_for,
    listed,
    new_contact,
    new_field,
    new_note,
    new_tag,
    patch,
    shown,
    unknown_include,
    unknown_parameter,
)

from rollbook.register.moments import now
from support import RunningServer, SiteWorld, start_server, wait_until

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
     ("POST", "/v1/contacts/import"), ("GET", "/v1/contacts/1/offers"), ("DELETE", "/v1/sites/1"), ("GET", "/v1"),
     ("OPTIONS", "/v1/contacts"), ("GET", "/"), ("GET", "/v2/contacts"), ("GET", "/v1/contacts/"),
     ("GET", "/v1/contacts/abc"), ("GET", "/v1/contacts/0"), ("GET", "/v1/contacts/%00"), ("GET", "/docs/x.js")],
)  # fmt: skip
def test_what_does_not_exist_is_answered_404_as_json_api(site: SiteWorld, method: str, path: str) -> None:
    reply = site.client.request(method, path)
    assert (reply.status, reply.headers["content-type"]) == (404, "application/vnd.api+json")
    assert reply.json == NOT_FOUND


@pytest.mark.parametrize(
    "path",
    [
        "/contacts/{}",
        "/v2/contacts/{}",
        "//contacts/{}",
        "/x/contacts/{}",
        "/v1/v1/contacts/{}",
        "/v1/contacts%2F{}",
    ],
)
@pytest.mark.parametrize(
    "below", ["", "/relationships/tags", "/consent_events", "/export", "/relationships%2ftags"]
)
def test_a_path_of_another_beginning_or_with_an_encoded_slash_does_not_exist(
    site: SiteWorld, path: str, below: str
) -> None:
    assert site.client.get(path.format(new_contact(site)["id"]) + below).json == NOT_FOUND


def test_a_template_is_no_path(site: SiteWorld) -> None:
    for path in ("/docs/%7Bid%7D", "/v1/contacts/%7Bid%7D", "/v1/contacts/{id}/relationships/tags"):
        assert site.client.get(path).json == NOT_FOUND


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


# Every resource.

TYPES = ["contacts", "contact_tags", "contact_notes", "custom_fields", "sites"]


@pytest.fixture
def world(site: SiteWorld) -> dict[str, Json]:
    """One resource of each type, by its type; the contact has the tag."""
    contact, tag = new_contact(site), new_tag(site, "Tag")
    tagged = site.client.post(f"/v1/contacts/{contact['id']}/relationships/tags", identifiers(tag["id"]))
    assert tagged.status == 200
    made = {
        "contact_tags": tag,
        "contact_notes": new_note(site, contact["id"], "Note"),
        "custom_fields": new_field(site, "Field"),
        "sites": shown(site.client, f"/v1/sites/{site.id}"),
    }
    return made | {"contacts": shown(site.client, f"/v1/contacts/{contact['id']}")}


@pytest.mark.parametrize("of_type", TYPES)
def test_head_answers_as_get_on_every_resource(site: SiteWorld, world: dict[str, Json], of_type: str) -> None:
    found = f"/v1/{of_type}/{world[of_type]['id']}"
    paths = [f"/v1/{of_type}", f"/v1/{of_type}?page[size]=1", found, f"/api{found}", f"/v1/{of_type}/1"]
    if of_type == "contacts":
        paths += [f"{found}?include=tags", f"{found}/relationships/tags", "/v1/contacts?include=x"]
    for path in paths:
        got, head = site.client.get(path), site.client.request("HEAD", path)
        assert (head.status, head.body) == (got.status, b""), path
        changing = ("date", "x-request-id")
        headers = [{k: v for k, v in each.headers.items() if k not in changing} for each in (got, head)]
        assert headers[0] == headers[1], path


@pytest.mark.parametrize("of_type", TYPES)
def test_every_collection_and_resource_has_its_links_and_counts_under_both_prefixes(
    server: RunningServer, site: SiteWorld, world: dict[str, Json], of_type: str
) -> None:
    resource = world[of_type]
    for prefix in ("/v1", "/api/v1"):
        url = f"{server.url}/v1/{of_type}"
        assert site.client.get(f"{prefix}/{of_type}").json == {
            "data": [resource],
            "links": {"self": url, "current": url},
            "meta": {"total": 1, "total_count": 1, "total_pages": 1, "current_page": 1},
        }
        url = f"{url}/{resource['id']}"
        reply = site.client.get(f"{prefix}/{of_type}/{resource['id']}")
        assert reply.json == {"data": resource, "links": {"self": url, "current": url}}
        assert reply.headers["content-type"] == "application/vnd.api+json"


@pytest.mark.parametrize("of_type", TYPES)
def test_an_id_is_a_text_of_digits_and_a_path_without_one_leads_nowhere(
    site: SiteWorld, world: dict[str, Json], of_type: str
) -> None:
    found = world[of_type]["id"]
    assert found.isdecimal()
    assert 0 < int(found) < 2**53
    for path_id in (
        f"0{found}",
        f"{found}.0",
        f"+{found}",
        f"{found}x",
        f"{found}%20",
        "%31",
        "-",
        "default",
    ):
        assert site.client.get(f"/v1/{of_type}/{path_id}").json == NOT_FOUND, path_id


@pytest.mark.parametrize("of_type", ["contacts", "contact_notes", "sites"])
def test_moments_are_in_utc_with_milliseconds(world: dict[str, Json], of_type: str) -> None:
    for stamp in ("created_at", "updated_at"):
        assert MOMENT.fullmatch(world[of_type]["attributes"][stamp])


@pytest.mark.parametrize(
    ("of_type", "name"), [("contact_tags", "name"), ("contact_notes", "body"), ("custom_fields", "title")]
)
def test_texts_of_every_resource_are_kept_byte_for_byte(
    site: SiteWorld, world: dict[str, Json], of_type: str, name: str
) -> None:
    path = f"/v1/{of_type}/{world[of_type]['id']}"
    for value in (" a  b ", "e\u0301 \u00e9 \ufb01", "\U0001f600\u200d", "\x01\x7f\r\n\t", "İSTANBUL", 12):
        given = change(of_type, world[of_type]["id"], **{name: value})
        reply = patch(site.client, path, given)
        assert (reply.status, reply.json["data"]["attributes"][name]) == (200, str(value))
        assert shown(site.client, path)["attributes"][name] == str(value)


@pytest.mark.parametrize("of_type", TYPES)
def test_the_singular_of_every_type_is_an_alias_in_sparse_fields(
    site: SiteWorld, world: dict[str, Json], of_type: str
) -> None:
    resource = world[of_type]
    first = next(iter(resource["attributes"]))
    sparse = resource | {"attributes": {first: resource["attributes"][first]}}
    for alias in (of_type, of_type.removesuffix("s")):
        query = f"?fields[{alias}]={first},nothing"
        assert shown(site.client, f"/v1/{of_type}/{resource['id']}{query}") == sparse
        assert listed(site.client, f"/v1/{of_type}{query}") == [sparse]


@pytest.mark.parametrize("of_type", TYPES)
def test_a_content_type_on_a_get_and_a_body_that_means_nothing_are_ignored(
    site: SiteWorld, world: dict[str, Json], of_type: str
) -> None:
    headers = {"Content-Type": "application/json"}
    assert site.client.get(f"/v1/{of_type}", headers=headers).status == 200
    assert site.client.get(f"/v1/{of_type}/{world[of_type]['id']}", body="{", headers=headers).status == 200


# Includes.


@pytest.mark.parametrize(
    ("of_type", "include", "expected"),
    [
        ("contacts", "tags", ["contact_tags"]),
        ("contacts", "site", ["sites"]),
        ("contacts", "offers", []),
        ("contacts", "customer", []),
        ("contacts", "offers,tags,customer,site", ["contact_tags", "sites"]),
        ("contacts", "tags,tags", ["contact_tags"]),
        ("contact_notes", "contact", ["contacts"]),
        ("contact_notes", "contact,contact", ["contacts"]),
    ],
)
def test_every_include_adds_the_resource_as_it_is_shown(
    site: SiteWorld, world: dict[str, Json], of_type: str, include: str, expected: list[str]
) -> None:
    for path in (f"/v1/{of_type}", f"/v1/{of_type}/{world[of_type]['id']}"):
        included = site.client.get(f"{path}?include={include}").json["included"]
        assert sorted(included, key=lambda each: str(each["type"])) == [world[each] for each in expected]
        assert "included" not in site.client.get(f"{path}?include=").json
        assert "included" not in site.client.get(path).json


@pytest.mark.parametrize("of_type", TYPES)
def test_an_include_that_a_resource_does_not_have_is_refused(
    site: SiteWorld, world: dict[str, Json], of_type: str
) -> None:
    for name in ("products", "notes", of_type, "x"):
        for path in (f"/v1/{of_type}", f"/v1/{of_type}/{world[of_type]['id']}"):
            assert_refused(site.client.get(f"{path}?include={name}"), unknown_include(name))


def test_of_a_repeated_parameter_the_last_one_wins(site: SiteWorld, world: dict[str, Json]) -> None:
    included = site.client.get("/v1/contacts?include=x&include=site&include=tags").json["included"]
    assert included == [world["contact_tags"]]
    assert_refused(site.client.get("/v1/contacts?include=tags&include=x"), unknown_include("x"))
    new_contact(site, "a@x.test", name="A")
    assert names(site, "sort=-name&sort=name") == ["A", "ines"]
    assert names(site, "filter[email]=a@x.test&filter[email]=ines@example.test") == ["ines"]
    assert names(site, "filter[email]=ines@example.test&filter[email]=a@x.test") == ["A"]


# Pages and links.


def test_notes_are_paged_by_twenty_and_by_a_hundred_at_most(site: SiteWorld) -> None:
    contact_id = new_contact(site)["id"]
    for number in range(101):
        new_note(site, contact_id, str(number))
    for query, size in (
        ("", 20), ("page[size]=", 20), ("page[size]=0", 20), ("page[size]=-1", 20), ("page[size]=x", 20),
        ("page[size]=1", 1), ("page[size]=30", 30), ("page[size]=100", 100), ("page[size]=101", 100),
        ("page[size]=1000", 100), (f"filter[contact_id]={contact_id}&page[size]=500", 100),
    ):  # fmt: skip
        reply = site.client.get(f"/v1/contact_notes?{query}").json
        assert len(reply["data"]) == size, query
        assert (reply["meta"]["total"], reply["meta"]["total_pages"]) == (101, -(-101 // size))
    last = site.client.get("/v1/contact_notes?page[size]=500&page[number]=2").json
    assert (len(last["data"]), last["meta"]["current_page"]) == (1, 2)


def test_links_keep_every_other_parameter_nested_arrays_too(server: RunningServer, site: SiteWorld) -> None:
    crowd(site, "A", "B", "C")
    kept = "filter[exclude][]=a&filter[exclude][]=b&x=%26%2B%23%25%20&include=tags&sort=name&page[size]=1"
    first = site.client.get(f"/v1/contacts?{kept}").json
    url = f"{server.url}/v1/contacts?{kept}"
    assert first["links"]["self"] == url
    assert first["links"]["next"] == f"{url}&page[number]=2"
    second = site.client.get(first["links"]["next"].removeprefix(server.url)).json
    assert second["data"][0]["attributes"]["name"] == "B"
    assert second["links"]["last"] == f"{url}&page[number]=3"


def test_brackets_in_links_are_literal_however_they_were_sent(server: RunningServer, site: SiteWorld) -> None:
    crowd(site, "A", "B")
    reply = site.client.get("/v1/contacts?page%5Bsize%5D=1&filter%5Bsubscribed%5D=false").json
    assert reply["links"]["next"] == (
        f"{server.url}/v1/contacts?page[size]=1&filter[subscribed]=false&page[number]=2"
    )


def test_a_nested_array_means_nothing_to_a_resource_without_its_filter(
    site: SiteWorld, world: dict[str, Json]
) -> None:
    for of_type in TYPES:
        query = "filter[exclude_product_types][]=course&filter[exclude_product_types][]=podcast"
        assert listed(site.client, f"/v1/{of_type}?{query}") == [world[of_type]]


@pytest.mark.parametrize("of_type", TYPES)
def test_an_empty_filter_is_absent_on_every_collection(
    site: SiteWorld, world: dict[str, Json], of_type: str
) -> None:
    filters = ("site_id", "contact_id", "name_cont", "title_cont", "type_eq", "required_eq", "subdomain_cont",
               "search", "has_tag_id", "subscribed")  # fmt: skip
    query = "&".join(f"filter[{name}]=" for name in filters)
    assert listed(site.client, f"/v1/{of_type}?{query}") == [world[of_type]]


# Strict mode.


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with ROLLBOOK_STRICT=on."""
    running = start_server(tmp_path_factory.mktemp("strict") / "rollbook.db", ROLLBOOK_STRICT="on")
    yield running
    assert running.stop() == 0


@pytest.mark.parametrize("of_type", TYPES)
@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("limit=3", "limit"),
        ("per_page=3", "per_page"),
        ("page=2", "page"),
        ("filter=x", "filter"),
        ("nobody_knows=", "nobody_knows"),
        ("filter[nobody_knows]=x", "filter[nobody_knows]"),
        ("filter%5Bnobody_knows%5D=x", "filter[nobody_knows]"),
        ("page[size]=1&sort=name&limit=3", "limit"),
    ],
)
def test_a_strict_server_refuses_what_means_nothing_by_name(
    strict: RunningServer, of_type: str, query: str, name: str
) -> None:
    site = strict.new_site()
    assert_refused(site.client.get(f"/v1/{of_type}?{query}"), unknown_parameter(name))


@pytest.mark.parametrize(
    "query",
    [
        "", "page[number]=1&page[size]=2", "page%5Bnumber%5D=x&page[size]=99999", "sort=nobody_knows", "sort=",
        "fields[contacts]=name,nobody_knows", "fields[contact]=name", "include=tags,site", "&=true&&",
        "filter[search]=ines&filter[email]=&filter[site_id]=&filter[subscribed]=false", "filter[has_no_tag_id]=1",
        "filter[no_sent_email_broadcast_id]=1",
    ],
)  # fmt: skip
def test_a_strict_server_takes_everything_that_means_something(strict: RunningServer, query: str) -> None:
    site = strict.new_site()
    contact = new_contact(site)
    assert ids(listed(site.client, f"/v1/contacts?{query}")) == [contact["id"]]


@pytest.mark.parametrize(
    ("of_type", "query"),
    [
        ("contact_tags", "filter[name_cont]=a&filter[site_id]=1"),
        ("contact_notes", "filter[contact_id]=1&filter[site_id]=1"),
        ("custom_fields", "filter[title_cont]=a&filter[type_eq]=TextField&filter[required_eq]=true"),
        ("custom_fields", "filter[site_id]=1"),
        ("sites", "filter[title_cont]=nothing&filter[subdomain_cont]=nothing"),
        ("contacts", "filter[used_coupon_code]=x"),
    ],
)
def test_a_strict_server_knows_the_filters_of_every_collection(
    strict: RunningServer, of_type: str, query: str
) -> None:
    assert listed(strict.new_site().client, f"/v1/{of_type}?{query}") == []


def test_a_filter_of_one_collection_is_unknown_to_another_in_strict_mode(strict: RunningServer) -> None:
    client = strict.new_site().client
    for of_type, name in (
        ("contact_tags", "filter[title_cont]"),
        ("contact_notes", "filter[search]"),
        ("custom_fields", "filter[name_cont]"),
        ("contacts", "filter[name_cont]"),
        ("sites", "filter[site_id]"),
    ):
        assert_refused(client.get(f"/v1/{of_type}?{name}=1"), unknown_parameter(name))


def test_a_strict_server_judges_single_resources_too_before_it_looks_for_them(strict: RunningServer) -> None:
    site = strict.new_site()
    contact = new_contact(site)
    for contact_id in (contact["id"], "1"):
        assert_refused(site.client.get(f"/v1/contacts/{contact_id}?expand=tags"), unknown_parameter("expand"))
    assert strict.client("unknown").get("/v1/contacts?expand=tags").status == 401


def test_pages_and_filters_on_a_relationship_are_ignored_in_strict_mode_too(strict: RunningServer) -> None:
    site = strict.new_site()
    contact, tag = new_contact(site), new_tag(site, "Tag")
    path = f"/v1/contacts/{contact['id']}/relationships/tags"
    query = "?page[number]=7&page[size]=1&filter[name]=x&filter[site_id]=1"
    for method in ("POST", "PATCH", "GET", "DELETE"):
        given = None if method == "GET" else identifiers(tag["id"])
        assert site.client.request(method, path + query, given).status == 200
    for name in ("limit", "page"):
        assert_refused(site.client.get(f"{path}?{name}=1"), unknown_parameter(name))


def test_writes_are_the_same_in_strict_mode(strict: RunningServer) -> None:
    site = strict.new_site()
    contact = new_contact(site, first_name="dropped", subscribed=1)
    path = f"/v1/contacts/{contact['id']}"
    assert patch(site.client, path, change("contacts", contact["id"], nobody_knows="x")).status == 200
    assert_refused(patch(site.client, path, change("contacts", contact["id"], email="x")), EMAIL_INVALID)


# Several sites.


def test_totals_and_pages_are_of_all_sites_of_the_key_together(server: RunningServer) -> None:
    one, two = server.new_site(), server.new_site()
    made = [new_tag(each, f"{number}") for number in range(3) for each in (one, two)]
    client = key_for(server, one, two)
    seen: list[Json] = []
    for number in (1, 2, 3):
        reply = client.get(f"/v1/contact_tags?page[size]=2&page[number]={number}").json
        assert reply["meta"] == {"total": 6, "total_count": 6, "total_pages": 3, "current_page": number}
        seen += reply["data"]
    assert seen == sorted(made, key=lambda each: int(each["id"]))


def test_a_create_answers_where_the_resource_is(server: RunningServer, site: SiteWorld) -> None:
    contact_id = new_contact(site)["id"]
    for of_type, attributes, related in (
        ("contact_tags", {"name": "x"}, {"site": ("sites", site.id)}),
        ("custom_fields", {"title": "x"}, {"site": ("sites", site.id)}),
        ("contact_notes", {"body": "x"}, {"contact": ("contacts", contact_id)}),
    ):
        reply = site.client.post(f"/api/v1/{of_type}", document(of_type, attributes, **related))
        url = f"{server.url}/v1/{of_type}/{reply.json['data']['id']}"
        assert (reply.status, reply.headers["location"]) == (201, url)
        assert reply.json["links"] == {"self": url, "current": url}


def test_a_document_in_a_get_writes_nothing(site: SiteWorld, world: dict[str, Json]) -> None:
    path = f"/v1/contacts/{world['contacts']['id']}"
    given = change("contacts", world["contacts"]["id"], name="x")
    assert site.client.get(path, document=given).status == 200
    assert shown(site.client, path) == world["contacts"]


def test_a_strict_server_ignores_withdrawn_filters_and_empty_values(
    serve: Callable[..., RunningServer],
) -> None:
    strict = serve(ROLLBOOK_STRICT="on").new_site()
    for query in ("filter[is_suppressed]=true", "filter[nonsense]="):
        assert strict.client.get(f"/v1/contacts?{query}").status == 200


def test_a_strict_server_names_each_parameter_of_a_write(serve: Callable[..., RunningServer]) -> None:
    strict = serve(ROLLBOOK_STRICT="on").new_site()
    refused = strict.client.post("/v1/contacts?include=tags&upsert=true", strict.document(email="a@b.test"))
    assert refused.status == 400
    assert [error["source"] for error in refused.json["errors"]] == [
        {"parameter": "include"},
        {"parameter": "upsert"},
    ]
