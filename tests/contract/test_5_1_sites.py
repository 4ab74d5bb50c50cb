"""Proves contract 5.1: the sites that a key sees, listed and shown, and read-only to the original's clients."""

from contract.answers import (
    MOMENT,
    NOT_FOUND,
    assert_refused,
    document,
    ids,
    key_for,
    listed,
    shown,
)

from support import RunningServer, SiteWorld


def test_a_site_has_its_attributes_in_their_order_and_no_relationships(server: RunningServer) -> None:
    site = server.new_site(title="Harbour Studio")
    url = f"{server.url}/v1/sites/{site.id}"
    reply = site.client.get(f"/v1/sites/{site.id}")
    attributes = reply.json["data"]["attributes"]
    assert list(attributes) == ["title", "subdomain", "created_at", "updated_at"]
    assert reply.json == {
        "data": {"id": site.id, "type": "sites", "attributes": attributes},
        "links": {"self": url, "current": url},
    }
    assert attributes["title"] == "Harbour Studio"
    assert isinstance(attributes["subdomain"], str)
    assert attributes["subdomain"]
    for stamp in ("created_at", "updated_at"):
        assert MOMENT.fullmatch(attributes[stamp])


def test_the_list_has_the_site_as_it_is_shown(server: RunningServer, site: SiteWorld) -> None:
    url = f"{server.url}/v1/sites"
    assert site.client.get("/v1/sites").json == {
        "data": [shown(site.client, f"/v1/sites/{site.id}")],
        "links": {"self": url, "current": url},
        "meta": {"total": 1, "total_count": 1, "total_pages": 1, "current_page": 1},
    }


def test_the_first_site_of_the_list_takes_a_contact(site: SiteWorld) -> None:
    found = listed(site.client, "/v1/sites")[0]["id"]
    given = document("contacts", {"email": "ines@example.test"}, site=("sites", found))
    assert site.client.post("/v1/contacts", given).status == 201


def test_a_key_of_some_sites_sees_those_alone_in_the_order_of_their_ids(server: RunningServer) -> None:
    two, one, unseen = (server.new_site(title=title) for title in ("Two", "One", "Unseen"))
    client = key_for(server, one, two)
    assert ids(listed(client, "/v1/sites")) == sorted((one.id, two.id), key=int)
    assert_refused(client.get(f"/v1/sites/{unseen.id}"), NOT_FOUND)
    assert listed(client, "/v1/sites?filter[title_cont]=unseen") == []


def test_a_key_of_all_sites_sees_those_that_come(server: RunningServer) -> None:
    client = key_for(server)
    site = server.new_site(title="Made after the key")
    assert shown(client, f"/v1/sites/{site.id}")["id"] == site.id
    assert site.id in ids(listed(client, "/v1/sites?filter[title_cont]=made+after+the+key"))


def test_a_key_without_other_permissions_sees_its_sites(server: RunningServer) -> None:
    site = server.new_site(permissions=("view:contacts",))
    assert ids(listed(site.client, "/v1/sites")) == [site.id]


def test_sites_are_sorted_by_title_or_subdomain_in_any_case(server: RunningServer) -> None:
    made = [server.new_site(title=title) for title in ("beta", "Alpha", "gamma")]
    client = key_for(server, *made)
    titles = {each: [found["attributes"]["title"] for found in listed(client, f"/v1/sites?sort={each}")]
              for each in ("title", "-title", "id", "unknown", "subdomain")}  # fmt: skip
    assert titles["title"] == ["Alpha", "beta", "gamma"]
    assert titles["-title"] == ["gamma", "beta", "Alpha"]
    assert titles["id"] == titles["unknown"] == ["beta", "Alpha", "gamma"]
    for sort, reverse in (("subdomain", False), ("-subdomain", True)):
        subdomains = [each["attributes"]["subdomain"] for each in listed(client, f"/v1/sites?sort={sort}")]
        assert subdomains == sorted(subdomains, reverse=reverse)


def test_parts_of_title_and_subdomain_find_a_site_together(server: RunningServer) -> None:
    made = [server.new_site(title=title) for title in ("Harbour Studio", "Harbour House")]
    client = key_for(server, *made)
    subdomain = shown(client, f"/v1/sites/{made[1].id}")["attributes"]["subdomain"]
    for query, expected in (
        ("filter[title_cont]=hARBOUR", made),
        ("filter[title_cont]=ur%20st", made[:1]),
        (f"filter[subdomain_cont]={subdomain.upper()}", made[1:]),
        (f"filter[title_cont]=studio&filter[subdomain_cont]={subdomain}", []),
        ("filter[title_cont]=%25", []),
    ):
        assert ids(listed(client, f"/v1/sites?{query}")) == [each.id for each in expected], query


def test_a_site_is_not_deleted(site: SiteWorld) -> None:
    for path in (f"/v1/sites/{site.id}", "/v1/sites"):
        assert_refused(site.client.request("DELETE", path), NOT_FOUND)
    assert ids(listed(site.client, "/v1/sites")) == [site.id]
