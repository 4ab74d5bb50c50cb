"""Proves contract 5.5: custom fields listed, found, shown and sorted; their handles are contacts' attributes."""

from typing import Any

import pytest
from contract.answers import (
    NOT_FOUND,
    Json,
    assert_refused,
    change,
    document,
    ids,
    key_for,
    listed,
    new_contact,
    new_field,
    patch,
    shown,
)

from support import RunningServer, SiteWorld

FIELDS = "/v1/custom_fields"
KINDS = [
    "TextField", "PhoneField", "EmailField", "TextAreaField", "CheckboxField", "SelectBoxField", "RadioButtonsField",
    "CountryField", "MobilePhoneField",
]  # fmt: skip


def titles(site: SiteWorld, query: str = "") -> list[str]:
    return [each["attributes"]["title"] for each in listed(site.client, f"{FIELDS}?{query}")]


def test_a_field_is_shown_and_listed_as_it_was_defined(server: RunningServer, site: SiteWorld) -> None:
    given = document("custom_fields", {"title": "Industry"}, site=("sites", site.id))
    reply = site.client.post(FIELDS, given)
    field_id = reply.json["data"]["id"]
    url = f"{server.url}{FIELDS}/{field_id}"
    field: Json = {
        "id": field_id,
        "type": "custom_fields",
        "attributes": {"title": "Industry", "handle": "custom_1", "type": "TextField", "required": False},
        "relationships": {"site": {"data": {"id": site.id, "type": "sites"}}},
    }
    assert (reply.status, reply.headers["location"]) == (201, url)
    assert reply.json == {"data": field, "links": {"self": url, "current": url}}
    assert list(reply.json["data"]["attributes"]) == ["title", "handle", "type", "required"]
    assert site.client.get(f"{FIELDS}/{field_id}").json == reply.json
    assert site.client.get(FIELDS).json == {
        "data": [field],
        "links": {"self": f"{server.url}{FIELDS}", "current": f"{server.url}{FIELDS}"},
        "meta": {"total": 1, "total_count": 1, "total_pages": 1, "current_page": 1},
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_field_is_kept_and_found(site: SiteWorld, kind: str) -> None:
    other = next(each for each in KINDS if each != kind)
    field = new_field(site, "One", type=kind)
    new_field(site, "Other", type=other)
    assert field["attributes"]["type"] == kind
    assert listed(site.client, f"{FIELDS}?filter[type_eq]={kind}") == [field]


def test_a_value_is_stored_under_the_handle_whatever_the_kind(site: SiteWorld) -> None:
    for number, kind in enumerate(KINDS):
        assert new_field(site, kind, type=kind)["attributes"]["handle"] == f"custom_{number + 1}"
    given = {f"custom_{number + 1}": f"any text {number}" for number in range(len(KINDS))}
    contact = new_contact(site, **given)
    assert contact["attributes"].items() >= given.items()


def test_a_required_field_does_not_refuse_a_contact_without_it(site: SiteWorld) -> None:
    new_field(site, "Industry", required=True)
    assert new_contact(site)["attributes"]["custom_1"] is None


def test_fields_are_found_by_title_type_and_whether_required(site: SiteWorld) -> None:
    new_field(site, "Industry", required=True)
    new_field(site, "Favourite colour", type="SelectBoxField")
    new_field(site, "100% sure", type="CheckboxField", required=True)
    for query, expected in (
        ("filter[title_cont]=INDUS", ["Industry"]),
        ("filter[title_cont]=u", ["Industry", "Favourite colour", "100% sure"]),
        ("filter[title_cont]=e%20c", ["Favourite colour"]),
        ("filter[title_cont]=%25", ["100% sure"]),
        ("filter[title_cont]=nothing", []),
        ("filter[type_eq]=SelectBoxField", ["Favourite colour"]),
        ("filter[type_eq]=SelectBox", []),
        ("filter[type_eq]=CountryField", []),
        ("filter[required_eq]=true", ["Industry", "100% sure"]),
        ("filter[required_eq]=1", ["Industry", "100% sure"]),
        ("filter[required_eq]=false", ["Favourite colour"]),
        ("filter[required_eq]=0", ["Favourite colour"]),
        ("filter[required_eq]=true&filter[type_eq]=TextField", ["Industry"]),
        ("filter[required_eq]=false&filter[title_cont]=indus", []),
        (
            "filter[required_eq]=&filter[type_eq]=&filter[title_cont]=",
            ["Industry", "Favourite colour", "100% sure"],
        ),
    ):
        reply = site.client.get(f"{FIELDS}?{query}").json
        assert [each["attributes"]["title"] for each in reply["data"]] == expected, query
        assert reply["meta"]["total"] == len(expected)


def test_fields_are_found_by_site(server: RunningServer) -> None:
    one, two, unseen = (server.new_site() for _ in range(3))
    here, there, nowhere = (new_field(each, "Same") for each in (one, two, unseen))
    client = key_for(server, one, two)
    for query, expected in (
        ("", [here, there]),
        (f"filter[site_id]={two.id}", [there]),
        (f"filter[site_id]={two.id},{one.id},{unseen.id}", [here, there]),
        (f"filter[site_id]={unseen.id}", []),
        (f"filter[site_id]={one.id}&filter[title_cont]=same", [here]),
    ):
        assert listed(client, f"{FIELDS}?{query}") == expected, query
    assert_refused(client.get(f"{FIELDS}/{nowhere['id']}"), NOT_FOUND)


def test_fields_are_in_the_order_of_their_ids_or_sorted(site: SiteWorld) -> None:
    new_field(site, "beta", handle="custom_3", type="TextField", required=True)
    new_field(site, "Alpha", handle="custom_2", type="CountryField", required=False)
    new_field(site, "gamma", handle="custom_1", type="EmailField", required=False)
    for query, expected in (
        ("", ["beta", "Alpha", "gamma"]),
        ("sort=unknown", ["beta", "Alpha", "gamma"]),
        ("sort=title", ["Alpha", "beta", "gamma"]),
        ("sort=-title", ["gamma", "beta", "Alpha"]),
        ("sort=handle", ["gamma", "Alpha", "beta"]),
        ("sort=-handle", ["beta", "Alpha", "gamma"]),
        ("sort=type", ["Alpha", "gamma", "beta"]),
        ("sort=-type", ["beta", "gamma", "Alpha"]),
        ("sort=required", ["Alpha", "gamma", "beta"]),
        ("sort=-required", ["beta", "Alpha", "gamma"]),
        ("sort=required,-title", ["gamma", "Alpha", "beta"]),
        ("sort=-required,title", ["beta", "Alpha", "gamma"]),
    ):
        assert titles(site, query) == expected, query


def test_a_field_that_is_in_use_has_no_member_archived(site: SiteWorld) -> None:
    field = new_field(site, "Industry")
    assert "archived" not in field["attributes"]
    assert "archived" not in shown(site.client, f"{FIELDS}/{field['id']}")["attributes"]
    assert "archived" not in listed(site.client, FIELDS)[0]["attributes"]


def test_an_archived_field_is_not_listed_and_keeps_its_handle(site: SiteWorld) -> None:
    field, other = new_field(site, "Old"), new_field(site, "Other")
    path = f"{FIELDS}/{field['id']}"
    reply = patch(site.client, path, change("custom_fields", field["id"], archived=True))
    archived = field | {"attributes": field["attributes"] | {"archived": True}}
    assert (reply.status, reply.json["data"]) == (200, archived)
    assert listed(site.client, FIELDS) == [other]
    assert shown(site.client, path) == archived
    assert new_field(site, "Third")["attributes"]["handle"] == "custom_3"
    reply = patch(site.client, path, change("custom_fields", field["id"], archived=False))
    assert reply.json["data"] == field


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"title": "Branch"}, {"title": "Branch"}),
        ({"type": "CountryField"}, {"type": "CountryField"}),
        ({"required": "true"}, {"required": True}),
        ({"handle": "custom_9"}, {}),
        ({"required": None}, {}),
    ],
)
def test_a_changed_field_keeps_its_handle(site: SiteWorld, given: dict[str, Any], expected: Json) -> None:
    field = new_field(site, "Industry", handle="custom_5")
    path = f"{FIELDS}/{field['id']}"
    reply = patch(site.client, path, change("custom_fields", field["id"], **given))
    changed = field | {"attributes": field["attributes"] | expected}
    assert (reply.status, reply.json["data"]) == (200, changed)
    assert listed(site.client, FIELDS) == [changed]


def test_a_field_is_not_deleted(site: SiteWorld) -> None:
    field = new_field(site, "Industry")
    assert_refused(site.client.request("DELETE", f"{FIELDS}/{field['id']}"), NOT_FOUND)
    assert ids(listed(site.client, FIELDS)) == [field["id"]]


@pytest.mark.parametrize("alias", ["custom_fields", "custom_field"])
def test_sparse_fields_leave_the_site_of_a_field(site: SiteWorld, alias: str) -> None:
    field = new_field(site, "Industry")
    sparse = field | {"attributes": {"title": "Industry", "handle": "custom_1"}}
    assert shown(site.client, f"{FIELDS}/{field['id']}?fields[{alias}]=handle,title,x") == sparse
    assert listed(site.client, f"{FIELDS}?fields[{alias}]=handle,title,x") == [sparse]


def test_all_hundred_and_fifty_fields_can_be_defined_listed_and_filled(site: SiteWorld) -> None:
    handles = [new_field(site, f"Field {number}")["attributes"]["handle"] for number in range(1, 151)]
    assert handles == [f"custom_{number}" for number in range(1, 151)]
    given = document("custom_fields", {"title": "One more"}, site=("sites", site.id))
    assert site.client.post(FIELDS, given).status == 422
    reply = site.client.get(f"{FIELDS}?page[size]=200").json
    assert (len(reply["data"]), reply["meta"]["total"]) == (150, 150)
    contact = new_contact(site, custom_150="last")
    custom = [name for name in contact["attributes"] if name.startswith("custom_")]
    assert custom == handles
    assert contact["attributes"]["custom_150"] == "last"
