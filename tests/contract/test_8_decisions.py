"""Proves contract 8: what was decided where the sources disagree or are silent, each row by its behaviour."""

from collections.abc import Callable
from urllib.parse import quote

import pytest
from contract.answers import (
    FORBIDDEN,
    NO_CUSTOMER,
    NOT_FOUND,
    SITE_NOT_FOUND,
    assert_refused,
    change,
    delete,
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
    tag_ids,
    taken,
)

from support import RunningServer, SiteWorld, contact_document


def test_the_create_answer_has_the_full_shape_and_is_what_a_list_has(site: SiteWorld) -> None:
    contact = new_contact(site)
    assert listed(site.client, "/v1/contacts") == [contact]
    assert set(contact["relationships"]) == {"customer", "site", "offers", "tags"}


def test_offers_and_tags_have_data_and_a_link_in_lists_and_shows(
    server: RunningServer, site: SiteWorld
) -> None:
    tag, contact = new_tag(site, "One"), new_contact(site)
    url = f"{server.url}/v1/contacts/{contact['id']}/relationships"
    site.client.post(f"/v1/contacts/{contact['id']}/relationships/tags", identifiers(tag["id"]))
    for found in (shown(site.client, f"/v1/contacts/{contact['id']}"), *listed(site.client, "/v1/contacts")):
        assert found["relationships"]["tags"] == identifiers(tag["id"]) | {"links": {"self": f"{url}/tags"}}
        assert found["relationships"]["offers"] == {"data": [], "links": {"self": f"{url}/offers"}}


def test_relationship_writes_and_deletes_answer_200_with_a_json_body(site: SiteWorld) -> None:
    tag, contact = new_tag(site, "One"), new_contact(site)
    note = new_note(site, contact["id"], "x")
    tags = f"/v1/contacts/{contact['id']}/relationships/tags"
    for method, path, given in (
        ("POST", tags, identifiers(tag["id"])),
        ("PATCH", tags, identifiers(tag["id"])),
        ("DELETE", tags, identifiers(tag["id"])),
        ("DELETE", f"/v1/contact_notes/{note['id']}", None),
        ("DELETE", f"/v1/contacts/{contact['id']}", None),
    ):
        reply = site.client.request(method, path, given)
        assert (reply.status, reply.headers["content-type"]) == (200, "application/vnd.api+json")
        assert isinstance(reply.json, dict)
        assert "data" in reply.json


@pytest.mark.parametrize("query", ["", "?upsert=true", "?upsert=1&on_duplicate=update"])
def test_a_post_never_updates_an_existing_contact(server: RunningServer, site: SiteWorld, query: str) -> None:
    contact = new_contact(site, name="First", phone_number="1")
    again = site.document(email="INES@example.test", name="Second", phone_number="2", subscribed=True)
    expected = taken("Email", "email", f"{server.url}/v1/contacts/{contact['id']}")
    assert_refused(site.client.post(f"/v1/contacts{query}", again), expected)
    assert listed(site.client, "/v1/contacts") == [contact]


def test_a_taken_email_can_be_told_by_the_words_that_clients_look_for(site: SiteWorld) -> None:
    new_contact(site)
    reply = site.create(email="ines@example.test")
    assert reply.status == 422
    assert b"already been taken" in reply.body


def test_an_external_user_id_is_ignored_on_create_and_refused_on_update(site: SiteWorld) -> None:
    contact = new_contact(site, external_user_id="crm-7781")
    assert contact["attributes"]["external_user_id"] is None
    path = f"/v1/contacts/{contact['id']}"
    given = change("contacts", contact["id"], external_user_id="crm-7781")
    assert_refused(patch(site.client, path, given), NO_CUSTOMER)
    given = change("contacts", contact["id"], external_user_id=None)
    assert patch(site.client, path, given).json["data"]["attributes"]["external_user_id"] is None


def test_subscribed_is_false_by_default_and_written_by_create_and_update(site: SiteWorld) -> None:
    assert new_contact(site, "a@x.test")["attributes"]["subscribed"] is False
    contact = new_contact(site, "b@x.test", subscribed=True)
    assert contact["attributes"]["subscribed"] is True
    reply = patch(
        site.client, f"/v1/contacts/{contact['id']}", change("contacts", contact["id"], subscribed=False)
    )
    assert reply.json["data"]["attributes"]["subscribed"] is False


@pytest.mark.parametrize("of_type", ["contacts", "contact_tags", "contact_notes", "custom_fields", "sites"])
def test_meta_has_the_union_of_keys_and_links_without_neighbours_are_absent(
    server: RunningServer, site: SiteWorld, of_type: str
) -> None:
    reply = site.client.get(f"/v1/{of_type}").json
    total = int(of_type == "sites")
    assert reply["meta"] == {"total": total, "total_count": total, "total_pages": 1, "current_page": 1}
    url = f"{server.url}/v1/{of_type}"
    assert reply["links"] == {"self": url, "current": url}


def test_a_list_without_a_site_has_the_resources_of_all_sites_of_the_key(server: RunningServer) -> None:
    one, two, unseen = (server.new_site() for _ in range(3))
    made = {}
    for each in (one, two, unseen):
        contact = new_contact(each)
        note, tag, field = new_note(each, contact["id"], "x"), new_tag(each, "x"), new_field(each, "x")
        made[each.id] = {
            "contacts": contact["id"], "contact_notes": note["id"], "contact_tags": tag["id"], "custom_fields": field["id"],
        }  # fmt: skip
    client = key_for(server, one, two)
    for of_type in made[one.id]:
        expected = sorted(made[each.id][of_type] for each in (one, two))
        for query in ("", "?filter[site_id]=", f"?filter[site_id]={one.id},{two.id},{unseen.id}"):
            assert sorted(ids(listed(client, f"/v1/{of_type}{query}"))) == expected
        assert ids(listed(client, f"/v1/{of_type}?filter[site_id]={two.id}")) == [made[two.id][of_type]]


@pytest.mark.parametrize("of_type", ["contacts", "contact_tags", "custom_fields", "contact_notes", "sites"])
def test_a_foreign_id_is_answered_as_an_unknown_one_to_the_byte(
    server: RunningServer, site: SiteWorld, of_type: str
) -> None:
    other = server.new_site()
    contact = new_contact(other)
    foreign = {
        "contacts": contact,
        "contact_tags": new_tag(other, "x"),
        "custom_fields": new_field(other, "x"),
        "contact_notes": new_note(other, contact["id"], "x"),
        "sites": {"id": other.id},
    }[of_type]["id"]
    replies = [site.client.get(f"/v1/{of_type}/{each}") for each in (foreign, "1", "x")]
    assert len({(reply.status, reply.body) for reply in replies}) == 1
    assert_refused(replies[0], NOT_FOUND)


def test_a_missing_permission_on_a_seen_site_is_403_where_an_unseen_one_is_404(server: RunningServer) -> None:
    seen, unseen = server.new_site(), server.new_site()
    client = key_for(server, seen, permissions=("view:contacts",))
    own, foreign = new_contact(seen)["id"], new_contact(unseen)["id"]
    assert_refused(delete(client, f"/v1/contacts/{own}"), FORBIDDEN)
    assert_refused(delete(client, f"/v1/contacts/{foreign}"), NOT_FOUND)
    assert_refused(client.post("/v1/contacts", contact_document(seen.id, email="a@b.test")), FORBIDDEN)
    assert_refused(client.post("/v1/contacts", contact_document(unseen.id, email="a@b.test")), SITE_NOT_FOUND)


@pytest.mark.parametrize("of_type", ["contacts", "contact_tags", "custom_fields"])
def test_an_unknown_site_on_create_is_answered_404_at_the_site(site: SiteWorld, of_type: str) -> None:
    attributes = {"email": "a@b.test", "name": "x", "title": "x"}
    for unknown in ("1", "abc"):
        given = document(of_type, attributes, site=("sites", unknown))
        assert_refused(site.client.post(f"/v1/{of_type}", given), SITE_NOT_FOUND)


def test_tags_of_an_update_are_taken_inside_and_beside_data(site: SiteWorld) -> None:
    one, two, contact = new_tag(site, "One")["id"], new_tag(site, "Two")["id"], new_contact(site)
    path = f"/v1/contacts/{contact['id']}"
    inside = {"data": {"relationships": {"tags": identifiers(one)}}}
    assert tag_ids(patch(site.client, path, inside).json["data"]) == [one]
    beside = change("contacts", contact["id"]) | {"relationships": {"tags": identifiers(two)}}
    assert tag_ids(patch(site.client, path, beside).json["data"]) == [two]


def test_a_fresh_server_defines_no_custom_field_and_stores_all_hundred_and_fifty(
    serve: Callable[..., RunningServer],
) -> None:
    server = serve()
    site = server.new_site()
    assert listed(key_for(server), "/v1/custom_fields") == []
    given = {f"custom_{number}": f"value {number}" for number in range(1, 151)}
    contact = new_contact(site, **given, custom_0="no", custom_151="no")
    found = shown(site.client, f"/v1/contacts/{contact['id']}")["attributes"]
    assert {name: value for name, value in found.items() if name.startswith("custom_")} == given


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("filter[email]=ines@example.test", ["ines@example.test"]),
        ("filter[email_eq]=INES@example.test", ["ines@example.test"]),
        ("filter[email]=ines", []),
        ("filter[email_eq]=nes@example.test", []),
        ("filter[email_contains]=nes@example.test", ["agnes@example.test", "ines@example.test"]),
        ("filter[search]=example%20nes", ["agnes@example.test", "ines@example.test"]),
        ("filter[search]=ines", ["ines@example.test"]),
    ],
)
def test_emails_are_looked_up_whole_by_parts_and_by_words_at_once(
    site: SiteWorld, query: str, expected: list[str]
) -> None:
    new_contact(site, "agnes@example.test")
    new_contact(site, "ines@example.test")
    found = listed(site.client, f"/v1/contacts?{query}")
    assert sorted(each["attributes"]["email"] for each in found) == expected


def test_a_lookup_right_after_every_write_finds_what_was_written(site: SiteWorld) -> None:
    tag = new_tag(site, "Webinar")
    assert listed(site.client, "/v1/contact_tags?filter[name_cont]=webinar") == [tag]
    for number in range(10):
        contact = new_contact(site, f"a{number}+x@example.test")
        path = f"/v1/contacts/{contact['id']}"
        email = quote(f"a{number}+x@example.test")
        assert ids(listed(site.client, f"/v1/contacts?filter[email]={email}")) == [contact["id"]]
        site.client.post(f"{path}/relationships/tags", identifiers(tag["id"]))
        by_tag = f"/v1/contacts?filter[has_tag_id]={tag['id']}&page[size]=1000"
        assert contact["id"] in ids(listed(site.client, by_tag))
        note = new_note(site, contact["id"], "x")
        assert listed(site.client, f"/v1/contact_notes?filter[contact_id]={contact['id']}") == [note]
        patch(site.client, path, change("contacts", contact["id"], name=f"Changed {number}"))
        assert ids(listed(site.client, f"/v1/contacts?filter[search]=changed%20{number}")) == [contact["id"]]


@pytest.mark.parametrize("of_type", ["contacts", "contact_tags", "contact_notes", "custom_fields", "sites"])
@pytest.mark.parametrize(
    "query", ["sort=nobody_knows", "filter[nobody_knows]=x", "nobody_knows=x", "sort=-nobody_knows,x&x[y]=z"]
)
def test_unknown_sorts_filters_and_parameters_are_ignored(site: SiteWorld, of_type: str, query: str) -> None:
    contact = new_contact(site)
    new_note(site, contact["id"], "x")
    new_tag(site, "x")
    new_field(site, "x")
    assert listed(site.client, f"/v1/{of_type}?{query}") == listed(site.client, f"/v1/{of_type}")
    assert len(listed(site.client, f"/v1/{of_type}?{query}")) == 1
