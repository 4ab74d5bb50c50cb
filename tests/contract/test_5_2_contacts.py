"""Proves contract 5.2: contacts listed, shown, changed, deleted and tagged, with their one shape everywhere."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from contract.answers import (
    EMAIL_BLANK,
    EMAIL_INVALID,
    MOMENT,
    NOT_FOUND,
    Json,
    assert_refused,
    attribute_error,
    change,
    delete,
    error,
    identifiers,
    ids,
    key_for,
    listed,
    new_contact,
    new_field,
    new_note,
    new_tag,
    pass_the_moment,
    patch,
    shown,
    tag_ids,
    taken,
)

from support import Reply, RunningServer, SiteWorld

TEXTS = [
    "address_line_1", "address_line_2", "address_city", "address_country", "address_state", "address_zip",
    "phone_number", "business_number",
]  # fmt: skip
FIXED = ["name", "email", *TEXTS, "subscribed", "external_user_id"]
STAMPS = ["created_at", "updated_at"]
FULL: Json = {
    "name": "Ines Okafor", "email": "ines@example.test", "address_line_1": "Rua das Flores 12", "address_line_2": "2 Esq",
    "address_city": "Porto", "address_country": "Portugal", "address_state": "Norte", "address_zip": "4050-262",
    "phone_number": "+351 555 010 020", "business_number": "+351 555 010 021", "subscribed": True,
    "custom_1": "Retail", "custom_150": "Blue",
}  # fmt: skip


def path_of(contact: Json) -> str:
    return f"/v1/contacts/{contact['id']}"


def tags_path(contact: Json) -> str:
    return f"/v1/contacts/{contact['id']}/relationships/tags"


def update(site: SiteWorld, contact: Json, **attributes: Any) -> Reply:
    return patch(site.client, path_of(contact), change("contacts", contact["id"], **attributes))


def updated(site: SiteWorld, contact: Json, **attributes: Any) -> Json:
    """Change a contact, and return the attributes that it has then, without its moments."""
    reply = update(site, contact, **attributes)
    assert reply.status == 200, reply
    assert reply.json["data"] == shown(site.client, path_of(contact))
    return unstamped(reply.json["data"])


def unstamped(contact: Json) -> Json:
    return {name: value for name, value in contact["attributes"].items() if name not in STAMPS}


# The shape.


def test_the_shape_is_the_same_in_lists_shows_creates_and_updates(
    server: RunningServer, site: SiteWorld
) -> None:
    tag, contact = new_tag(site, "Webinar"), new_contact(site, **FULL)
    site.client.post(tags_path(contact), identifiers(tag["id"]))
    url = f"{server.url}{path_of(contact)}"
    expected = {
        "id": contact["id"],
        "type": "contacts",
        "attributes": contact["attributes"],
        "relationships": {
            "customer": {"data": None},
            "site": {"data": {"id": site.id, "type": "sites"}},
            "offers": {"data": [], "links": {"self": f"{url}/relationships/offers"}},
            "tags": {
                "data": [{"id": tag["id"], "type": "contact_tags"}],
                "links": {"self": f"{url}/relationships/tags"},
            },
        },
        "links": {"customer": ""},
    }
    for path in (path_of(contact), "/v1/contacts", "/api/v1/contacts"):
        found = site.client.get(path).json["data"]
        found = found[0] if isinstance(found, list) else found
        stamps = {name: found["attributes"][name] for name in STAMPS}
        assert all(MOMENT.fullmatch(stamp) for stamp in stamps.values())
        assert found == expected | {"attributes": contact["attributes"] | stamps}
    reply = update(site, contact, name="New")
    assert reply.json["links"] == {"self": url, "current": url}
    assert set(reply.json) == {"data", "links"}
    changed = contact["attributes"] | {
        "name": "New",
        "updated_at": reply.json["data"]["attributes"]["updated_at"],
    }
    assert reply.json["data"] == expected | {"attributes": changed}
    assert listed(site.client, "/v1/contacts") == [reply.json["data"]]


def test_attributes_come_in_the_order_of_the_table_in_every_answer(site: SiteWorld) -> None:
    contact = new_contact(site, custom_10="ten", custom_2="two", custom_150="last")
    new_field(site, "Defined", handle="custom_7")
    order = [*FIXED, "custom_2", "custom_7", "custom_10", "custom_150", *STAMPS]
    reply = update(site, contact, custom_1="one")
    assert list(reply.json["data"]["attributes"]) == [*FIXED, "custom_1", *order[len(FIXED) :]]
    update(site, contact, custom_1=None)
    assert list(shown(site.client, path_of(contact))["attributes"]) == order
    assert list(listed(site.client, "/v1/contacts")[0]["attributes"]) == order


def test_self_is_the_url_of_the_request_with_its_query(server: RunningServer, site: SiteWorld) -> None:
    contact = new_contact(site)
    for path in (
        f"{path_of(contact)}?include=tags",
        f"{path_of(contact)}?fields[contacts]=name",
        "/v1/contacts?include=tags&filter[email]=ines@example.test",
    ):
        links = site.client.get(path).json["links"]
        assert links == {"self": server.url + path, "current": server.url + path}


def test_the_list_is_newest_first(site: SiteWorld) -> None:
    made = []
    for number in range(3):
        made.append(new_contact(site, f"{number}@x.test"))
        pass_the_moment(made[-1])
    assert listed(site.client, "/v1/contacts") == made[::-1]
    update(site, made[0], name="Changed")
    assert ids(listed(site.client, "/v1/contacts")) == ids(made[::-1]), "a change does not move a contact"


# Custom fields: what is answered.


def test_a_defined_custom_field_is_answered_as_null_and_an_undefined_one_only_with_a_value(
    server: RunningServer, site: SiteWorld
) -> None:
    new_field(server.new_site(), "Elsewhere", handle="custom_4")
    before = new_contact(site, "before@x.test", custom_9="nine")
    assert {"custom_3", "custom_4"}.isdisjoint(before["attributes"])
    new_field(site, "Industry", handle="custom_3")
    after = new_contact(site, "after@x.test", custom_3="Retail")
    bare = new_contact(site, "bare@x.test")
    for contact, expected in (
        (before, {"custom_3": None, "custom_9": "nine"}),
        (after, {"custom_3": "Retail"}),
        (bare, {"custom_3": None}),
    ):
        for found in (
            shown(site.client, path_of(contact)),
            *(each for each in listed(site.client, "/v1/contacts") if each["id"] == contact["id"]),
            update(site, contact, name="Changed").json["data"],
        ):
            custom = {name: value for name, value in found["attributes"].items() if name[:7] == "custom_"}
            assert custom == expected
    assert bare["attributes"]["custom_3"] is None, "the answer to the create has the defined field too"


def test_a_custom_field_is_answered_for_its_site_alone_in_a_list_of_several(server: RunningServer) -> None:
    one, two = server.new_site(), server.new_site()
    new_field(one, "Industry", handle="custom_3")
    here, there = new_contact(one), new_contact(two)
    found = {each["id"]: each for each in listed(key_for(server, one, two), "/v1/contacts")}
    assert "custom_3" in found[here["id"]]["attributes"]
    assert "custom_3" not in found[there["id"]]["attributes"]


def test_an_archived_custom_field_is_answered_only_where_it_has_a_value(site: SiteWorld) -> None:
    field = new_field(site, "Industry", handle="custom_3")
    with_value, without = new_contact(site, "a@x.test", custom_3="Retail"), new_contact(site, "b@x.test")
    path = f"/v1/custom_fields/{field['id']}"
    assert patch(site.client, path, change("custom_fields", field["id"], archived=True)).status == 200
    assert shown(site.client, path_of(with_value))["attributes"]["custom_3"] == "Retail"
    assert "custom_3" not in shown(site.client, path_of(without))["attributes"]
    assert patch(site.client, path, change("custom_fields", field["id"], archived=False)).status == 200
    assert shown(site.client, path_of(without))["attributes"]["custom_3"] is None


def test_a_custom_field_is_changed_emptied_and_cleared(site: SiteWorld) -> None:
    new_field(site, "Industry", handle="custom_1")
    contact = new_contact(site, custom_1="Retail", custom_5="x")
    assert updated(site, contact, custom_1="Wholesale")["custom_1"] == "Wholesale"
    assert updated(site, contact, custom_1="")["custom_1"] == ""
    assert updated(site, contact, custom_1=None)["custom_1"] is None
    assert updated(site, contact, custom_1=12)["custom_1"] == "12"
    assert updated(site, contact, custom_5="")["custom_5"] == ""
    assert "custom_5" not in updated(site, contact, custom_5=None)
    found = updated(site, contact, custom_150="last", custom_151="no", custom_0="no", custom_01="no")
    assert {name for name in found if name.startswith("custom_")} == {"custom_1", "custom_150"}


# PATCH.


def test_an_update_changes_what_is_given_and_nothing_else(site: SiteWorld) -> None:
    contact = new_contact(site, **FULL)
    expected = unstamped(contact)
    given: list[tuple[str, Any]] = [
        *((name, f"new {name}") for name in ("name", *TEXTS, "custom_1", "custom_150")),
        ("email", "other@example.test"),
        ("subscribed", False),
        ("custom_77", "added"),
    ]
    for name, value in given:
        expected[name] = value
        assert updated(site, contact, **{name: value}) == expected
    assert updated(site, contact) == expected


@pytest.mark.parametrize("name", TEXTS)
def test_null_clears_a_text_and_an_empty_string_is_stored_as_given(site: SiteWorld, name: str) -> None:
    contact = new_contact(site, **FULL)
    expected = unstamped(contact)
    for value, stored in ((None, None), ("", ""), (12, "12"), (" \u00e9 e\u0301\n ", " \u00e9 e\u0301\n ")):
        assert updated(site, contact, **{name: value}) == expected | {name: stored}


def test_several_attributes_are_changed_together(site: SiteWorld) -> None:
    contact = new_contact(site, **FULL)
    given = {name: f"new {name}" for name in ("name", *TEXTS, "custom_2")} | {"email": "n@x.test"}
    assert updated(site, contact, **given, subscribed=False) == unstamped(contact) | given | {
        "subscribed": False
    }


@pytest.mark.parametrize("name", ["", " \t", "\u3000", None])
def test_a_blank_name_becomes_the_local_part_of_the_email(site: SiteWorld, name: str | None) -> None:
    contact = new_contact(site, "ines.o@example.test", name="Ines Okafor")
    assert updated(site, contact, name=name)["name"] == "ines.o"
    assert updated(site, contact, name=name, email="New@example.test")["name"] == "new"
    assert updated(site, contact, email="newer@example.test")["name"] == "new", "an absent name stays"


def test_an_email_is_trimmed_and_lower_cased_and_found_at_once(site: SiteWorld) -> None:
    contact = new_contact(site, "old@example.test", name="Ines")
    found = updated(site, contact, email=" \tNew@Example.TEST ")
    assert (found["email"], found["name"]) == ("new@example.test", "Ines")
    for query in ("filter[email]=new@example.test", "filter[search]=new@ex", "filter[email_contains]=new"):
        assert ids(listed(site.client, f"/v1/contacts?{query}")) == [contact["id"]]
    for query in ("filter[email]=old@example.test", "filter[search]=old@", "filter[email_contains]=old"):
        assert listed(site.client, f"/v1/contacts?{query}") == []


def test_a_changed_name_is_found_at_once_and_the_old_one_is_not(site: SiteWorld) -> None:
    contact = new_contact(site, name="Ines Okafor")
    update(site, contact, name="Mira Vance")
    for query in ("filter[search]=mira%20van", "filter[name_contains]=VANCE"):
        assert ids(listed(site.client, f"/v1/contacts?{query}")) == [contact["id"]]
    for query in ("filter[search]=okafor", "filter[name_contains]=ines"):
        assert listed(site.client, f"/v1/contacts?{query}") == []


def test_a_changed_email_frees_the_old_one_and_takes_the_new_one(
    server: RunningServer, site: SiteWorld
) -> None:
    contact = new_contact(site, "old@example.test")
    update(site, contact, email="new@example.test")
    refused = taken("Email", "email", f"{server.url}{path_of(contact)}")
    assert_refused(site.create(email="new@example.test"), refused)
    other = new_contact(site, "old@example.test")
    assert_refused(update(site, other, email="NEW@example.test "), refused)
    assert updated(site, other, email="OLD@example.test")["email"] == "old@example.test"


def test_a_taken_email_is_refused_as_on_create(server: RunningServer, site: SiteWorld) -> None:
    there, contact = new_contact(site, "there@example.test"), new_contact(site)
    new_contact(server.new_site(), "elsewhere@example.test")
    expected = taken("Email", "email", f"{server.url}{path_of(there)}")
    assert_refused(update(site, contact, name="Changed", email="There@example.test"), expected)
    writer = key_for(server, site, permissions=("edit:contacts",))
    given = change("contacts", contact["id"], email="there@example.test")
    unnamed = attribute_error("email", "Email has already been taken")
    assert_refused(patch(writer, path_of(contact), given), unnamed)
    assert shown(site.client, path_of(contact)) == contact
    assert updated(site, contact, email="elsewhere@example.test")["email"] == "elsewhere@example.test"


def test_an_email_is_neither_cleared_nor_malformed(site: SiteWorld) -> None:
    contact = new_contact(site)
    for value in (None, "", " \t\u00a0"):
        assert_refused(update(site, contact, email=value), EMAIL_BLANK)
    malformed: list[Any] = ["x", "@", "a@", "@b", "a b@c.test", "a@b@c.test", 12]
    for each in malformed:
        assert_refused(update(site, contact, email=each), EMAIL_INVALID)
    assert shown(site.client, path_of(contact)) == contact


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize(
    ("value", "stored"),
    [(True, True), (False, False), ("true", True), ("false", False), (1, True), (0, False), (None, None)],
)
def test_subscribed_is_set_by_words_and_digits_and_null_leaves_it(
    site: SiteWorld, start: bool, value: Any, stored: bool | None
) -> None:
    contact = new_contact(site, subscribed=start)
    expected = start if stored is None else stored
    assert updated(site, contact, subscribed=value)["subscribed"] is expected
    assert ids(listed(site.client, f"/v1/contacts?filter[subscribed]={expected}".lower())) == [contact["id"]]


def test_setting_subscribed_writes_the_history(site: SiteWorld) -> None:
    contact = new_contact(site)

    def found_by() -> list[str]:
        filters = ("never_subscribed=true", "subscribed_in_last=1", "unsubscribed_in_last=1")
        return [
            each for each in filters if listed(site.client, f"/v1/contacts?filter[{each.replace('=', ']=')}")
        ]

    assert found_by() == ["never_subscribed=true"]
    update(site, contact, name="Changed")
    assert found_by() == ["never_subscribed=true"]
    update(site, contact, subscribed=True)
    assert found_by() == ["subscribed_in_last=1"]
    update(site, contact, subscribed=False)
    assert "unsubscribed_in_last=1" in found_by()
    assert "never_subscribed=true" not in found_by()


def test_a_null_external_user_id_is_no_change(site: SiteWorld) -> None:
    contact = new_contact(site)
    assert updated(site, contact, external_user_id=None, name="New") == unstamped(contact) | {"name": "New"}


def test_unknown_and_read_only_attributes_are_dropped(site: SiteWorld) -> None:
    contact = new_contact(site)
    found = updated(
        site, contact, first_name="Ines", created_at="2020-01-01T00:00:00.000Z", updated_at="x", id="7", type="x",
        mobile_phone_number="1", tags=["x"], site_id="1", subscription=2, hidden=True,
    )  # fmt: skip
    assert found == unstamped(contact)
    assert (
        shown(site.client, path_of(contact))["attributes"]["created_at"]
        == contact["attributes"]["created_at"]
    )


def test_an_update_moves_updated_at_and_leaves_created_at(site: SiteWorld) -> None:
    contact = new_contact(site)
    pass_the_moment(contact)
    attributes = update(site, contact, name="Changed").json["data"]["attributes"]
    assert attributes["created_at"] == contact["attributes"]["created_at"]
    assert attributes["updated_at"] > contact["attributes"]["updated_at"]


def test_id_and_type_may_be_missing_and_the_id_a_number(site: SiteWorld) -> None:
    contact = new_contact(site)
    for number, data in enumerate(
        (
            {},
            {"id": contact["id"]},
            {"type": "contacts"},
            {"id": int(contact["id"])},
            {"id": contact["id"], "type": "contacts"},
        )
    ):
        reply = patch(site.client, path_of(contact), {"data": data | {"attributes": {"name": str(number)}}})
        assert (reply.status, reply.json["data"]["attributes"]["name"]) == (200, str(number))


@pytest.mark.parametrize("data", [{}, {"attributes": None}, {"attributes": {}}, {"relationships": {}}])
def test_an_update_of_nothing_changes_nothing(site: SiteWorld, data: Json) -> None:
    contact = new_contact(site, **FULL)
    reply = patch(site.client, path_of(contact), {"data": data})
    assert reply.status == 200
    assert unstamped(reply.json["data"]) == unstamped(contact)


def test_an_update_through_the_other_prefix_is_the_same(server: RunningServer, site: SiteWorld) -> None:
    contact = new_contact(site)
    reply = patch(site.client, f"/api{path_of(contact)}", change("contacts", contact["id"], name="New"))
    url = f"{server.url}{path_of(contact)}"
    assert (reply.status, reply.json["links"]) == (200, {"self": url, "current": url})


def test_a_contact_does_not_move_to_another_site(server: RunningServer, site: SiteWorld) -> None:
    other, contact = server.new_site(), new_contact(site)
    given = change("contacts", contact["id"], name="New")
    given["data"]["relationships"] = {"site": {"data": {"type": "sites", "id": other.id}}}
    patch(key_for(server, site, other), path_of(contact), given)
    found = shown(site.client, path_of(contact))
    assert found["relationships"]["site"]["data"] == {"id": site.id, "type": "sites"}
    assert listed(other.client, "/v1/contacts") == []


@pytest.mark.parametrize("place", ["inside data", "beside data"])
def test_an_update_replaces_the_tags_that_it_gives_in_either_place(site: SiteWorld, place: str) -> None:
    one, two, three = (new_tag(site, name)["id"] for name in ("One", "Two", "Three"))
    contact = new_contact(site)
    site.client.post(tags_path(contact), identifiers(one))

    def with_tags(*sent: Any, **attributes: Any) -> Json:
        given = change("contacts", contact["id"], **attributes)
        at = given["data"] if place == "inside data" else given
        at["relationships"] = {"tags": identifiers(*sent)}
        reply = patch(site.client, path_of(contact), given)
        assert reply.status == 200, reply
        found: Json = reply.json["data"]
        assert found == shown(site.client, path_of(contact)) == listed(site.client, "/v1/contacts")[0]
        return found

    assert tag_ids(with_tags(two, three)) == sorted([two, three])
    assert tag_ids(with_tags(one, int(two), one)) == sorted([one, two])
    assert tag_ids(update(site, contact, name="Changed").json["data"]) == sorted([one, two])
    both = with_tags(three, name="Both", email="both@example.test")
    assert (tag_ids(both), both["attributes"]["name"]) == ([three], "Both")
    assert tag_ids(with_tags()) == []


@pytest.mark.parametrize(("place", "where"), [("inside data", "/data"), ("beside data", "")])
def test_tags_that_are_no_array_of_identifiers_are_refused_where_they_stand(
    site: SiteWorld, place: str, where: str
) -> None:
    contact = new_contact(site)
    given = change("contacts", contact["id"])
    at = given["data"] if place == "inside data" else given
    at["relationships"] = {"tags": {"data": None}}
    no_array = error(400, "Request body must contain a data array", f"{where}/relationships/tags/data")
    assert_refused(patch(site.client, path_of(contact), given), no_array)


def test_an_update_that_is_refused_leaves_the_tags_too(site: SiteWorld) -> None:
    tag, contact = new_tag(site, "One")["id"], new_contact(site)
    given = change("contacts", contact["id"], email="x")
    given["data"]["relationships"] = {"tags": identifiers(tag)}
    assert_refused(patch(site.client, path_of(contact), given), EMAIL_INVALID)
    assert shown(site.client, path_of(contact)) == contact


# DELETE.


def test_a_delete_answers_an_empty_data_and_again_404(site: SiteWorld) -> None:
    contact, other = new_contact(site), new_contact(site, "other@example.test")
    reply = delete(site.client, path_of(contact))
    assert (reply.status, reply.body) == (200, b'{"data":{}}')
    assert reply.headers["content-type"] == "application/vnd.api+json"
    for again in (
        delete(site.client, path_of(contact)),
        site.client.get(path_of(contact)),
        update(site, contact, name="x"),
        site.client.get(tags_path(contact)),
        site.client.post(tags_path(contact), identifiers()),
    ):
        assert_refused(again, NOT_FOUND)
    for query in ("", "?filter[email]=ines@example.test", "?filter[search]=ines"):
        reply = site.client.get(f"/v1/contacts{query}")
        expected = [] if query else [other]
        assert (reply.json["data"], reply.json["meta"]["total"]) == (expected, len(expected))


def test_a_body_on_delete_is_read_and_means_nothing(site: SiteWorld) -> None:
    contact = new_contact(site)
    assert delete(site.client, path_of(contact), {"data": {"id": "1"}}).json == {"data": {}}
    assert listed(site.client, "/v1/contacts") == []


def test_the_email_is_free_at_once_and_the_new_contact_is_another(site: SiteWorld) -> None:
    seen = set()
    for _ in range(3):
        contact = new_contact(site)
        seen.add(contact["id"])
        assert delete(site.client, path_of(contact)).status == 200
    assert len(seen) == 3


def test_notes_and_tag_links_go_with_the_contact(site: SiteWorld) -> None:
    tag, contact, other = new_tag(site, "One"), new_contact(site), new_contact(site, "other@example.test")
    note, kept = new_note(site, contact["id"], "gone"), new_note(site, other["id"], "kept")
    for each in (contact, other):
        site.client.post(tags_path(each), identifiers(tag["id"]))
    delete(site.client, path_of(contact))
    assert_refused(site.client.get(f"/v1/contact_notes/{note['id']}"), NOT_FOUND)
    assert listed(site.client, "/v1/contact_notes") == [kept]
    assert listed(site.client, f"/v1/contact_notes?filter[contact_id]={contact['id']}") == []
    tagged = listed(site.client, f"/v1/contacts?filter[has_tag_id]={tag['id']}")
    assert ids(tagged) == [other["id"]]
    assert shown(site.client, f"/v1/contact_tags/{tag['id']}") == tag


def test_a_contact_made_again_with_the_email_has_nothing_of_the_old_one(site: SiteWorld) -> None:
    tag, contact = new_tag(site, "One"), new_contact(site, **FULL)
    site.client.post(tags_path(contact), identifiers(tag["id"]))
    delete(site.client, path_of(contact))
    again = new_contact(site)
    assert again["attributes"]["phone_number"] is None
    assert again["attributes"]["subscribed"] is False
    assert again["relationships"]["tags"]["data"] == []
    assert ids(listed(site.client, "/v1/contacts?filter[never_subscribed]=true")) == [again["id"]]


# The relationship.


def test_all_four_verbs_answer_the_complete_current_list(server: RunningServer, site: SiteWorld) -> None:
    one, two, three = (new_tag(site, name)["id"] for name in ("One", "Two", "Three"))
    contact = new_contact(site)
    path = tags_path(contact)
    for method, sent, expected in (
        ("POST", (), ()),
        ("POST", (one,), (one,)),
        ("POST", (one,), (one,)),
        ("POST", (two, two, one), (one, two)),
        ("DELETE", (three,), (one, two)),
        ("DELETE", (), (one, two)),
        ("DELETE", (one, three), (two,)),
        ("DELETE", (one,), (two,)),
        ("PATCH", (one, three, three), (one, three)),
        ("PATCH", (one, three), (one, three)),
        ("PATCH", (two,), (two,)),
        ("POST", (int(one),), (one, two)),
        ("PATCH", (), ()),
        ("DELETE", (one,), ()),
    ):
        replies = [site.client.request(method, path, identifiers(*sent)), site.client.get(path)]
        for reply in replies:
            assert (reply.status, reply.headers["content-type"]) == (200, "application/vnd.api+json")
            linkage = sorted(reply.json["data"], key=lambda each: str(each["id"]))
            assert linkage == [{"type": "contact_tags", "id": each} for each in sorted(expected)]
            assert reply.json == {"data": reply.json["data"], "links": {"self": server.url + path}}
        assert tag_ids(shown(site.client, path_of(contact))) == sorted(expected)


def test_the_relationship_is_the_same_under_the_other_prefix(server: RunningServer, site: SiteWorld) -> None:
    tag, contact = new_tag(site, "One")["id"], new_contact(site)
    reply = site.client.post(f"/api{tags_path(contact)}", identifiers(tag))
    assert reply.json == identifiers(tag) | {"links": {"self": server.url + tags_path(contact)}}


def test_a_tag_belongs_to_the_contacts_that_it_was_given_to(site: SiteWorld) -> None:
    tag = new_tag(site, "One")["id"]
    contacts = [new_contact(site, f"{number}@x.test") for number in range(3)]
    for each in contacts[:2]:
        site.client.post(tags_path(each), identifiers(tag))
    delete(site.client, tags_path(contacts[0]), identifiers(tag))
    assert [tag_ids(shown(site.client, path_of(each))) for each in contacts] == [[], [tag], []]
    assert ids(listed(site.client, f"/v1/contacts?filter[has_tag_id]={tag}")) == [contacts[1]["id"]]


def test_pages_and_filters_on_the_relationship_are_ignored(site: SiteWorld) -> None:
    tags = [new_tag(site, f"Tag {number}")["id"] for number in range(35)]
    contact = new_contact(site)
    query = "?page[number]=2&page[size]=1&filter[name_cont]=x&filter[site_id]=1"
    assert len(site.client.post(tags_path(contact) + query, identifiers(*tags)).json["data"]) == 35
    reply = site.client.get(tags_path(contact) + query)
    assert sorted(ids(reply.json["data"])) == sorted(tags)
    assert "meta" not in reply.json
    assert tag_ids(shown(site.client, path_of(contact))) == sorted(tags)


def test_any_content_type_is_taken_for_a_relationship_write(site: SiteWorld) -> None:
    tag, contact = new_tag(site, "One")["id"], new_contact(site)
    for method, expected in (("POST", [tag]), ("DELETE", []), ("PATCH", [tag])):
        for media_type in ("application/json", "text/plain", ""):
            body, headers = json.dumps(identifiers(tag)), {"Content-Type": media_type}
            reply = site.client.request(method, tags_path(contact), body=body, headers=headers)
            assert (reply.status, ids(reply.json["data"])) == (200, expected)


# At the same time.


def at_once(server: RunningServer, site: SiteWorld, calls: list[tuple[str, str, Json]]) -> list[Reply]:
    """Send requests at the same time, each on a connection of its own."""
    clients, barrier = [server.client(site.token) for _ in calls], threading.Barrier(len(calls))

    def send(number: int) -> Reply:
        barrier.wait()
        return clients[number].request(*calls[number])

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(send, range(len(calls))))


def test_of_simultaneous_updates_to_one_email_one_is_done(server: RunningServer, site: SiteWorld) -> None:
    contacts = [new_contact(site, f"{number}@x.test") for number in range(8)]
    calls = [
        ("PATCH", path_of(each), change("contacts", each["id"], email="wanted@x.test")) for each in contacts
    ]
    replies = at_once(server, site, calls)
    assert sorted(reply.status for reply in replies) == [200, *[422] * 7]
    (winner,) = (reply.json["data"] for reply in replies if reply.status == 200)
    expected = taken("Email", "email", f"{server.url}{path_of(winner)}")
    assert all(reply.json == {"errors": [expected]} for reply in replies if reply.status == 422)
    assert ids(listed(site.client, "/v1/contacts?filter[email]=wanted@x.test")) == [winner["id"]]


def test_simultaneous_updates_of_different_attributes_are_all_kept(
    server: RunningServer, site: SiteWorld
) -> None:
    contact = new_contact(site)
    given = {each: f"new {each}" for each in (*TEXTS, *(f"custom_{number}" for number in range(1, 9)))}
    calls = [
        ("PATCH", path_of(contact), change("contacts", contact["id"], **{name: value}))
        for name, value in given.items()
    ]
    assert {reply.status for reply in at_once(server, site, calls)} == {200}
    assert shown(site.client, path_of(contact))["attributes"].items() >= given.items()


def test_tags_added_and_removed_at_the_same_time_are_all_counted(
    server: RunningServer, site: SiteWorld
) -> None:
    tags = [new_tag(site, f"Tag {number}")["id"] for number in range(16)]
    contact = new_contact(site)
    site.client.post(tags_path(contact), identifiers(*tags[:8]))
    calls = [("DELETE", tags_path(contact), identifiers(each)) for each in tags[:8]]
    calls += [("POST", tags_path(contact), identifiers(each)) for each in tags[8:]]
    assert {reply.status for reply in at_once(server, site, calls)} == {200}
    assert tag_ids(shown(site.client, path_of(contact))) == sorted(tags[8:])


def test_of_simultaneous_deletes_one_is_done(server: RunningServer, site: SiteWorld) -> None:
    contact = new_contact(site)
    replies = at_once(server, site, [("DELETE", path_of(contact), {})] * 6)
    assert sorted(reply.status for reply in replies) == [200, *[404] * 5]
    assert site.client.get("/v1/contacts").json["meta"]["total"] == 0


# Includes and sparse fields.


def test_included_tags_and_sites_are_whole_and_there_once(server: RunningServer) -> None:
    one_site, two_sites = server.new_site(title="One"), server.new_site(title="Two")
    client = key_for(server, one_site, two_sites)
    one, two, unused = (new_tag(one_site, name) for name in ("One", "Two", "Unused"))
    other = new_tag(two_sites, "One")
    first, second = new_contact(one_site, "1@x.test"), new_contact(one_site, "2@x.test")
    third = new_contact(two_sites, "3@x.test")
    for contact, tags in ((first, [one, two]), (second, [one]), (third, [other])):
        client.post(tags_path(contact), identifiers(*ids(tags)))
    sites = [shown(client, f"/v1/sites/{each.id}") for each in (one_site, two_sites)]

    def included(query: str) -> list[Json]:
        found: list[Json] = client.get(f"/v1/{query}").json["included"]
        assert len({(each["type"], each["id"]) for each in found}) == len(found)
        return sorted(found, key=lambda each: (str(each["type"]), int(each["id"])))

    tags = sorted([one, two, other], key=lambda each: int(each["id"]))
    assert included("contacts?include=tags") == tags
    assert included("contacts?include=tags,site,offers,customer") == tags + sorted(
        sites, key=lambda each: int(each["id"])
    )
    assert included(f"contacts?include=tags&filter[site_id]={two_sites.id}") == [other]
    assert included(f"contacts/{first['id']}?include=tags") == [one, two]
    assert included(f"contacts/{second['id']}?include=site,tags") == [one, sites[0]]
    assert unused["id"] not in ids(included("contacts?include=tags,site"))
    assert included("contacts?include=offers,customer") == []


def test_included_is_absent_without_an_include(site: SiteWorld) -> None:
    contact = new_contact(site)
    site.client.post(tags_path(contact), identifiers(new_tag(site, "One")["id"]))
    for path in (path_of(contact), "/v1/contacts", f"{path_of(contact)}?include=", "/v1/contacts?include="):
        assert "included" not in site.client.get(path).json


def test_only_the_contacts_of_the_page_have_their_tags_included(site: SiteWorld) -> None:
    tags = [new_tag(site, f"Tag {number}") for number in range(3)]
    for number, tag in enumerate(tags):
        contact = new_contact(site, f"{number}@x.test")
        site.client.post(tags_path(contact), identifiers(tag["id"]))
    for number in range(3):
        page = site.client.get(f"/v1/contacts?include=tags&sort=email&page[size]=1&page[number]={number + 1}")
        assert page.json["included"] == [tags[number]]


@pytest.mark.parametrize("alias", ["", "s"])
def test_sparse_fields_filter_the_attributes_of_included_types_too(site: SiteWorld, alias: str) -> None:
    tag, contact = new_tag(site, "One"), new_contact(site)
    site.client.post(tags_path(contact), identifiers(tag["id"]))
    whole = shown(site.client, path_of(contact))
    fields = f"fields[contact{alias}]=email&fields[site{alias}]=subdomain,nothing&fields[contact_tag{alias}]=nothing"
    for path in (path_of(contact), "/v1/contacts"):
        reply = site.client.get(f"{path}?include=tags,site&{fields}").json
        data = reply["data"][0] if isinstance(reply["data"], list) else reply["data"]
        assert data == whole | {"attributes": {"email": "ines@example.test"}}
        by_type = {each["type"]: each for each in reply["included"]}
        assert by_type["contact_tags"] == tag | {"attributes": {}}
        assert list(by_type["sites"]["attributes"]) == ["subdomain"]


def test_a_defined_custom_field_can_be_asked_for_alone(site: SiteWorld) -> None:
    new_field(site, "Industry", handle="custom_3")
    contact = new_contact(site, custom_8="x")
    found = shown(site.client, f"{path_of(contact)}?fields[contacts]=custom_3,custom_8,custom_9")
    assert found["attributes"] == {"custom_3": None, "custom_8": "x"}
