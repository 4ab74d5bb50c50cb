"""Proves contract 5.3: contact tags listed, found, shown and made, archived ones kept out of the list."""

import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from contract.answers import (
    FORBIDDEN,
    NO_SITE,
    NOT_FOUND,
    SITE_NOT_FOUND,
    Json,
    assert_refused,
    change,
    delete,
    document,
    identifiers,
    ids,
    key_for,
    listed,
    new_contact,
    new_tag,
    patch,
    shown,
    tag_ids,
    taken,
)

from support import Reply, RunningServer, SiteWorld

TAGS = "/v1/contact_tags"


def names(site: SiteWorld, query: str = "") -> list[str]:
    return [each["attributes"]["name"] for each in listed(site.client, f"{TAGS}?{query}")]


def test_a_made_tag_is_answered_with_its_place_and_shown_and_listed_as_made(
    server: RunningServer, site: SiteWorld
) -> None:
    given = document("contact_tags", {"name": "Webinar June"}, site=("sites", site.id))
    reply = site.client.post(TAGS, given)
    tag_id = reply.json["data"]["id"]
    url = f"{server.url}{TAGS}/{tag_id}"
    tag = {
        "id": tag_id,
        "type": "contact_tags",
        "attributes": {"name": "Webinar June"},
        "relationships": {"site": {"data": {"id": site.id, "type": "sites"}}},
    }
    assert (reply.status, reply.headers["location"]) == (201, url)
    assert reply.json == {"data": tag, "links": {"self": url, "current": url}}
    assert tag_id.isdecimal()
    assert int(tag_id) < 2**53
    assert site.client.get(f"{TAGS}/{tag_id}").json == reply.json
    assert site.client.get(TAGS).json == {
        "data": [tag],
        "links": {"self": f"{server.url}{TAGS}", "current": f"{server.url}{TAGS}"},
        "meta": {"total": 1, "total_count": 1, "total_pages": 1, "current_page": 1},
    }


def test_a_made_tag_can_be_given_to_a_contact_at_once(site: SiteWorld) -> None:
    tag, contact = new_tag(site, "Webinar"), new_contact(site)
    path = f"/v1/contacts/{contact['id']}/relationships/tags"
    assert ids(site.client.post(path, identifiers(tag["id"])).json["data"]) == [tag["id"]]


@pytest.mark.parametrize(
    "name", [" Two  blanks ", "Ünï e\u0301 \u00e9", "😀", "a\nb\t", "<b>&\"'%_", "x" * 500]
)
def test_a_name_is_kept_byte_for_byte(site: SiteWorld, name: str) -> None:
    tag = new_tag(site, name)
    assert shown(site.client, f"{TAGS}/{tag['id']}")["attributes"] == {"name": name}


@pytest.mark.parametrize("name", [" Two  blanks ", "Ünï e\u0301", "😀", "a\nb\t", "<b>&\"'%_", "x" * 500])
def test_the_exact_name_finds_the_tag(site: SiteWorld, name: str) -> None:
    new_tag(site, name)
    assert names(site, f"filter[name_cont]={quote(name)}") == [name]


def test_a_name_may_be_a_number_and_unknown_attributes_are_dropped(site: SiteWorld) -> None:
    given = document("contact_tags", {"name": 7, "handle": "seven", "id": "1"}, site=("sites", int(site.id)))  # type: ignore[arg-type]
    given["data"]["id"] = "1"
    del given["data"]["type"]
    reply = site.client.post(TAGS, given)
    assert (reply.status, reply.json["data"]["attributes"]) == (201, {"name": "7"})
    assert reply.json["data"]["id"] != "1"


def test_a_name_is_free_in_another_site(server: RunningServer, site: SiteWorld) -> None:
    assert new_tag(site, "One")["id"] != new_tag(server.new_site(), "One")["id"]


@pytest.mark.parametrize(
    "relationships",
    [None, {}, [], {"site": None}, {"site": {}}, {"site": {"data": None}}, {"site": {"data": []}},
     {"site": {"data": {"type": "sites"}}}, {"site": {"data": {"type": "contacts", "id": "1"}}}],
)  # fmt: skip
def test_a_tag_without_a_site_is_refused(site: SiteWorld, relationships: Json | None) -> None:
    data = {"type": "contact_tags", "attributes": {"name": "x"}, "relationships": relationships}
    assert_refused(site.client.post(TAGS, {"data": data}), NO_SITE)


def test_a_tag_in_an_unknown_or_unseen_site_is_refused_alike(server: RunningServer, site: SiteWorld) -> None:
    for unknown in (server.new_site().id, "1", "abc"):
        given = document("contact_tags", {"name": "x"}, site=("sites", unknown))
        assert_refused(site.client.post(TAGS, given), SITE_NOT_FOUND)


def test_making_a_tag_asks_for_its_permission(server: RunningServer, site: SiteWorld) -> None:
    given = document("contact_tags", {"name": "x"}, site=("sites", site.id))
    for permission in ("view:contact_tags", "edit:contacts"):
        assert_refused(key_for(server, site, permissions=(permission,)).post(TAGS, given), FORBIDDEN)
    assert key_for(server, site, permissions=("edit:contact_tags",)).post(TAGS, given).status == 201


def test_tags_are_in_the_order_of_their_ids_or_sorted_by_name_in_any_case(site: SiteWorld) -> None:
    for name in ("beta", "Alpha", "gamma", "Ärger"):
        new_tag(site, name)
    assert (
        names(site)
        == names(site, "sort=unknown")
        == names(site, "sort=")
        == ["beta", "Alpha", "gamma", "Ärger"]
    )
    assert names(site, "sort=name") == ["Alpha", "beta", "gamma", "Ärger"]
    assert names(site, "sort=-name") == ["Ärger", "gamma", "beta", "Alpha"]
    assert names(site, "sort=unknown,name") == names(site, "sort=name")
    assert names(site, "sort=email") == names(site), "the published sort by email is a slip"


def test_parts_of_a_name_find_tags_in_any_case(site: SiteWorld) -> None:
    for name in ("Webinar June", "webinar July", "100% _under_", "Straße"):
        new_tag(site, name)
    for part, expected in (
        ("WEBINAR", ["Webinar June", "webinar July"]),
        ("r j", ["Webinar June", "webinar July"]),
        ("june", ["Webinar June"]),
        ("Webinar June x", []),
        ("%", ["100% _under_"]),
        ("_", ["100% _under_"]),
        ("STRASSE", ["Straße"]),
        ("", ["Webinar June", "webinar July", "100% _under_", "Straße"]),
    ):
        assert names(site, f"filter[name_cont]={quote(part)}") == expected, part


def test_site_id_is_one_or_any_of_a_list_and_else_every_site_of_the_key(server: RunningServer) -> None:
    one, two, unseen = (server.new_site() for _ in range(3))
    here, there, nowhere = (new_tag(each, "Same") for each in (one, two, unseen))
    client = key_for(server, one, two)
    for query, expected in (
        ("", [here, there]),
        (f"filter[site_id]={one.id}", [here]),
        (f"filter[site_id]={one.id},{two.id},1,x", [here, there]),
        (f"filter[site_id]={unseen.id}", []),
        ("filter[site_id]=1", []),
        ("filter[site_id]=", [here, there]),
        (f"filter[site_id]={two.id}&filter[name_cont]=same", [there]),
        (f"filter[site_id]={two.id}&filter[name_cont]=other", []),
    ):
        reply = client.get(f"{TAGS}?{query}").json
        assert (reply["data"], reply["meta"]["total"]) == (expected, len(expected)), query
    assert_refused(client.get(f"{TAGS}/{nowhere['id']}"), NOT_FOUND)


def test_an_archived_tag_is_not_listed_but_shown_and_kept_by_its_contacts(site: SiteWorld) -> None:
    tag, other, contact = new_tag(site, "Old"), new_tag(site, "New"), new_contact(site)
    path = f"/v1/contacts/{contact['id']}"
    site.client.post(f"{path}/relationships/tags", identifiers(tag["id"]))
    reply = patch(site.client, f"{TAGS}/{tag['id']}", change("contact_tags", tag["id"], archived=True))
    archived = tag | {"attributes": {"name": "Old", "archived": True}}
    assert (reply.status, reply.json["data"]) == (200, archived)
    assert listed(site.client, TAGS) == listed(site.client, f"{TAGS}?filter[name_cont]=") == [other]
    assert listed(site.client, f"{TAGS}?filter[name_cont]=old") == []
    assert site.client.get(TAGS).json["meta"]["total"] == 1
    assert shown(site.client, f"{TAGS}/{tag['id']}") == archived
    assert tag_ids(shown(site.client, path)) == [tag["id"]]
    assert site.client.get(f"{path}?include=tags").json["included"] == [archived]
    reply = patch(site.client, f"{TAGS}/{tag['id']}", change("contact_tags", tag["id"], archived=False))
    assert reply.json["data"] == tag
    assert listed(site.client, TAGS) == [tag, other]


def test_a_renamed_tag_is_found_by_its_new_name_alone(site: SiteWorld) -> None:
    tag = new_tag(site, "Old name")
    reply = patch(site.client, f"{TAGS}/{tag['id']}", change("contact_tags", tag["id"], name="Newly named"))
    assert (reply.status, reply.json["data"]) == (200, tag | {"attributes": {"name": "Newly named"}})
    assert names(site, "filter[name_cont]=newly") == ["Newly named"]
    assert names(site, "filter[name_cont]=old") == []
    assert new_tag(site, "Old name")["id"] != tag["id"]


def test_a_deleted_tag_is_gone_and_its_contacts_lose_it(site: SiteWorld) -> None:
    tag, kept, contact = new_tag(site, "Gone"), new_tag(site, "Kept"), new_contact(site)
    path = f"/v1/contacts/{contact['id']}"
    site.client.post(f"{path}/relationships/tags", identifiers(tag["id"], kept["id"]))
    reply = delete(site.client, f"{TAGS}/{tag['id']}")
    assert (reply.status, reply.body) == (200, b'{"data":{}}')
    assert_refused(delete(site.client, f"{TAGS}/{tag['id']}"), NOT_FOUND)
    assert_refused(site.client.get(f"{TAGS}/{tag['id']}"), NOT_FOUND)
    assert listed(site.client, TAGS) == [kept]
    assert tag_ids(shown(site.client, path)) == [kept["id"]]
    assert listed(site.client, f"/v1/contacts?filter[has_tag_id]={tag['id']}") == []


def test_tags_are_paged_by_thirty(site: SiteWorld) -> None:
    made = [new_tag(site, f"Tag {number}") for number in range(32)]
    first, second = site.client.get(TAGS).json, site.client.get(f"{TAGS}?page[number]=2").json
    assert (first["data"], second["data"]) == (made[:30], made[30:])
    assert second["meta"] == {"total": 32, "total_count": 32, "total_pages": 2, "current_page": 2}
    assert listed(site.client, f"{TAGS}?page[size]=200") == made


def test_of_simultaneous_tags_with_one_name_one_is_made(server: RunningServer, site: SiteWorld) -> None:
    given = document("contact_tags", {"name": "Wanted"}, site=("sites", site.id))
    clients, barrier = [server.client(site.token) for _ in range(6)], threading.Barrier(6)

    def send(number: int) -> Reply:
        barrier.wait()
        return clients[number].post(TAGS, given)

    with ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(send, range(6)))
    assert sorted(reply.status for reply in replies) == [201, *[422] * 5]
    (winner,) = (reply.json["data"] for reply in replies if reply.status == 201)
    expected = taken("Name", "name", f"{server.url}{TAGS}/{winner['id']}")
    assert all(reply.json == {"errors": [expected]} for reply in replies if reply.status == 422)
    assert listed(site.client, TAGS) == [winner]
