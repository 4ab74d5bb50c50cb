"""Proves contract 4: each row of its table with its exact body, and the order of the checks everywhere."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from contract.answers import (
    BODY_BLANK,
    EMAIL_INVALID,
    FORBIDDEN,
    NAME_BLANK,
    NO_ARRAY,
    NO_ATTRIBUTES,
    NO_CONTACT,
    NO_CUSTOMER,
    NO_DATA,
    NO_OBJECT,
    NO_SITE,
    NOT_FOUND,
    OTHER_ID,
    SITE_NOT_FOUND,
    Json,
    assert_refused,
    attribute_error,
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
    other_type,
    patch,
    shown,
    tag_ids,
    taken,
    unknown_include,
    unknown_parameter,
)

from databases import writes_held
from support import Reply, RunningServer, SiteWorld, contact_document

TYPES = ["contacts", "contact_tags", "contact_notes", "custom_fields", "sites"]
# Every call on one resource: its method, its path below the type, and a document that a known one takes.
CALLS: list[tuple[str, str, Json | None]] = [
    *(("GET", f"{each}/{{}}", None) for each in TYPES),
    *(("PATCH", f"{each}/{{}}", {"data": {"attributes": {}}}) for each in TYPES),
    *(("DELETE", f"{each}/{{}}", None) for each in TYPES[:3]),
    ("GET", "contacts/{}/relationships/tags", None),
    *((method, "contacts/{}/relationships/tags", identifiers()) for method in ("POST", "PATCH", "DELETE")),
]
EVERY_CALL = pytest.mark.parametrize(
    ("method", "path", "given"), CALLS, ids=[f"{method} {path}" for method, path, _ in CALLS]
)


def one_of_each(site: SiteWorld) -> dict[str, str]:
    """Make one resource of each type, and return their ids."""
    contact_id = new_contact(site)["id"]
    return {
        "contacts": contact_id,
        "contact_tags": new_tag(site, "Tag")["id"],
        "contact_notes": new_note(site, contact_id, "Note")["id"],
        "custom_fields": new_field(site, "Field")["id"],
        "sites": site.id,
    }


@EVERY_CALL
def test_an_unknown_id_and_one_of_an_unseen_site_are_answered_alike(
    server: RunningServer, site: SiteWorld, method: str, path: str, given: Json | None
) -> None:
    other, of_type = server.new_site(), path.partition("/")[0]
    foreign = one_of_each(other)[of_type]
    before = shown(other.client, f"/v1/{of_type}/{foreign}")
    for unknown in (foreign, "1", "0", "-1", "abc", f"0{foreign}", "9" * 30):
        assert_refused(site.client.request(method, f"/v1/{path.format(unknown)}", given), NOT_FOUND)
    assert shown(other.client, f"/v1/{of_type}/{foreign}") == before


@EVERY_CALL
def test_every_call_asks_for_a_token_before_all_else(
    server: RunningServer, method: str, path: str, given: Json | None
) -> None:
    for client, detail in (
        (server.client(), "Access token is missing"),
        (server.client("unknown"), "Access token is invalid or has expired"),
    ):
        reply = client.request(method, f"/v1/{path.format('1')}?include=x", body="{")
        expected = {"status": "401", "source": None, "title": "Unauthorized", "detail": detail}
        assert (reply.status, reply.json) == (401, {"errors": [expected]})
        assert reply.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "nothing"),
        ("POST", "contacts/{}/relationships/site"),
        ("GET", "contacts/{}/tags"),
        ("GET", "contacts/{}/relationships/notes"),
        ("PUT", "contacts/{}"),
        ("POST", "contacts/{}"),
        ("PUT", "contacts/{}/relationships/tags"),
        ("DELETE", "contacts"),
        ("PATCH", "contact_tags"),
        ("DELETE", "contact_notes"),
        ("PUT", "contact_notes/1"),
        ("DELETE", "sites/1"),
    ],
)
def test_an_unknown_path_or_method_is_answered_as_an_unknown_id(
    site: SiteWorld, method: str, path: str
) -> None:
    contact_id = new_contact(site)["id"]
    assert_refused(site.client.request(method, f"/v1/{path.format(contact_id)}"), NOT_FOUND)


NO_IDENTIFIERS: list[Any] = [
    {}, {"data": None}, {"data": {}}, {"data": {"type": "contact_tags", "id": "1"}}, {"data": "1"}, {"data": 1},
    {"data": True}, {"data": ["1"]}, {"data": [1]}, {"data": [None]}, {"data": [[]]}, {"data": [{}]},
    {"data": [{"type": "contact_tags"}]}, {"data": [{"type": "contact_tags", "id": None}]},
    {"data": [{"type": "contact_tags", "id": ""}]}, {"data": [{"type": "contact_tags", "id": {}}]},
    {"data": [{"type": "contact_tags", "id": True}]}, {"tags": []},
]  # fmt: skip


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_a_relationship_write_without_an_array_of_identifiers_is_refused(
    site: SiteWorld, method: str
) -> None:
    contact, tag = new_contact(site), new_tag(site, "A")
    path = f"/v1/contacts/{contact['id']}/relationships/tags"
    site.client.post(path, identifiers(tag["id"]))
    for given in NO_IDENTIFIERS:
        assert_refused(site.client.request(method, path, given), NO_ARRAY)
    half = {"data": [{"type": "contact_tags", "id": tag["id"]}, "x"]}
    assert_refused(site.client.request(method, path, half), NO_ARRAY)
    for body in ("", "[]", "{", "null", '"x"', '{"data":[{"type":"contact_tags","id":"\\ud800"}]}'):
        assert_refused(site.client.request(method, path, body=body), NO_OBJECT)
    assert ids(site.client.get(path).json["data"]) == [tag["id"]]


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_a_relationship_write_with_an_unknown_tag_or_one_of_another_site_is_refused_whole(
    server: RunningServer, site: SiteWorld, method: str
) -> None:
    other = server.new_site()
    foreign = new_tag(other, "Foreign")["id"]
    one, two, contact = new_tag(site, "One")["id"], new_tag(site, "Two")["id"], new_contact(site)
    path = f"/v1/contacts/{contact['id']}/relationships/tags"
    site.client.post(path, identifiers(one))
    of_both = key_for(server, site, other)
    for unknown in ("1", "abc", f"0{one}", foreign):
        for named in ([unknown], [one, unknown], [unknown, two], [one, two, unknown]):
            assert_refused(site.client.request(method, path, identifiers(*named)), NOT_FOUND)
    assert_refused(of_both.request(method, path, identifiers(two, foreign)), NOT_FOUND)
    assert ids(site.client.get(path).json["data"]) == [one]


@pytest.mark.parametrize("place", ["inside data", "beside data"])
def test_an_update_with_an_unknown_tag_changes_nothing(
    server: RunningServer, site: SiteWorld, place: str
) -> None:
    foreign = new_tag(server.new_site(), "Foreign")["id"]
    contact, tag = new_contact(site), new_tag(site, "One")["id"]
    path = f"/v1/contacts/{contact['id']}"
    for unknown in ("1", "abc", foreign):
        given = change("contacts", contact["id"], name="Changed")
        at = given["data"] if place == "inside data" else given
        at["relationships"] = {"tags": identifiers(tag, unknown)}
        assert_refused(patch(site.client, path, given), NOT_FOUND)
    assert shown(site.client, path) == contact


@pytest.mark.parametrize("tags", [[], "x", 1, {}, {"data": None}, {"data": {}}, {"data": ["x"]}])
def test_an_update_with_tags_that_are_no_array_of_identifiers_changes_nothing(
    site: SiteWorld, tags: Any
) -> None:
    contact = new_contact(site)
    path = f"/v1/contacts/{contact['id']}"
    given = change("contacts", contact["id"], name="Changed")
    given["data"]["relationships"] = {"tags": tags}
    reply = patch(site.client, path, given)
    assert (reply.status, reply.json["errors"][0]["title"]) == (400, "Bad Request")
    assert shown(site.client, path) == contact


@pytest.mark.parametrize(
    ("of_type", "name"),
    [("contacts", "notes"), ("contacts", "contact_tags"), ("contact_notes", "site"), ("contact_notes", "contacts"),
     ("contact_tags", "site"), ("custom_fields", "site"), ("sites", "contacts"), ("contacts", "site.tags")],
)  # fmt: skip
def test_an_unknown_include_is_refused_on_lists_and_shows(site: SiteWorld, of_type: str, name: str) -> None:
    path = f"/v1/{of_type}"
    for each in (path, f"{path}/{one_of_each(site)[of_type]}"):
        assert_refused(site.client.get(f"{each}?include={name}"), unknown_include(name))
    if of_type == "contacts":
        assert_refused(site.client.get(f"{path}?include=tags,{name}"), unknown_include(name))


def test_an_unknown_parameter_is_refused_by_name_in_strict_mode_alone(
    serve: Callable[..., RunningServer], site: SiteWorld
) -> None:
    strict = serve(ROLLBOOK_STRICT="on").new_site()
    assert_refused(strict.client.get("/v1/contacts?limit=3"), unknown_parameter("limit"))
    assert site.client.get("/v1/contacts?limit=3").status == 200


@pytest.mark.parametrize("of_type", ["contacts", "contact_notes", "contact_tags", "custom_fields"])
def test_an_update_with_another_id_or_type_than_the_url_is_refused(site: SiteWorld, of_type: str) -> None:
    resource_id = one_of_each(site)[of_type]
    path = f"/v1/{of_type}/{resource_id}"
    before = shown(site.client, path)
    wrong: Any
    given: Json
    for wrong in (int(resource_id) + 1, str(int(resource_id) + 1), f"0{resource_id}", "", None, [], "abc"):
        given = {"data": {"type": of_type, "id": wrong, "attributes": {}}}
        assert_refused(patch(site.client, path, given), OTHER_ID)
    for wrong in ("sites", of_type[:-1], of_type.title(), "", None, 1, {}):
        given = {"data": {"type": wrong, "id": resource_id, "attributes": {}}}
        assert_refused(patch(site.client, path, given), other_type(of_type))
    assert shown(site.client, path) == before


@pytest.mark.parametrize("of_type", ["contacts", "contact_notes", "contact_tags", "custom_fields"])
def test_an_update_needs_the_shape_that_a_create_needs(site: SiteWorld, of_type: str) -> None:
    resource_id = one_of_each(site)[of_type]
    path = f"/v1/{of_type}/{resource_id}"
    before = shown(site.client, path)
    for body in ("", "[]", "{", "null", "x", b'{"data":"\xff"}', '{"data":{"attributes":{"x":"\\udc00"}}}'):
        assert_refused(patch(site.client, path, body=body), NO_OBJECT)
    shapeless: list[Json] = [{}, {"data": None}, {"data": []}, {"data": "x"}, {"attributes": {}}]
    for given in shapeless:
        assert_refused(patch(site.client, path, given), NO_DATA)
    attributes: Any
    for attributes in ([], "x", 1, True):
        given = {"data": {"type": of_type, "id": resource_id, "attributes": attributes}}
        assert_refused(patch(site.client, path, given), NO_ATTRIBUTES)
    assert shown(site.client, path) == before


@pytest.mark.parametrize("body", ["", " ", "\n\t", "\u3000\u00a0", None])
def test_a_blank_note_body_is_refused_on_create_and_update(site: SiteWorld, body: str | None) -> None:
    contact_id = new_contact(site)["id"]
    note = new_note(site, contact_id, "Called back.")
    given = document("contact_notes", {"body": body}, contact=("contacts", contact_id))
    assert_refused(site.client.post("/v1/contact_notes", given), BODY_BLANK)
    path = f"/v1/contact_notes/{note['id']}"
    assert_refused(patch(site.client, path, change("contact_notes", note["id"], body=body)), BODY_BLANK)
    assert shown(site.client, path) == note
    assert listed(site.client, "/v1/contact_notes") == [note]


def test_a_note_without_a_body_at_all_is_refused(site: SiteWorld) -> None:
    contact = {"contact": {"data": {"type": "contacts", "id": new_contact(site)["id"]}}}
    without: list[Json] = [{}, {"attributes": None}, {"attributes": {}}]
    for attributes in without:
        given = {"data": {"type": "contact_notes", "relationships": contact} | attributes}
        assert_refused(site.client.post("/v1/contact_notes", given), BODY_BLANK)


def test_a_note_without_contact_or_with_an_unknown_one_is_refused(
    server: RunningServer, site: SiteWorld
) -> None:
    foreign = new_contact(server.new_site())["id"]
    gone = new_contact(site)["id"]
    delete(site.client, f"/v1/contacts/{gone}")
    contacts: list[Any] = [
        None, {}, {"data": None}, {"data": []}, {"data": {"type": "contacts"}}, {"data": {"type": "contacts", "id": ""}},
        {"data": {"type": "contacts", "id": "1"}}, {"data": {"type": "contacts", "id": "abc"}},
        {"data": {"type": "contacts", "id": foreign}}, {"data": {"type": "contacts", "id": gone}},
        {"data": {"type": "sites", "id": site.id}},
    ]  # fmt: skip
    data = {"type": "contact_notes", "attributes": {"body": "x"}}
    assert_refused(site.client.post("/v1/contact_notes", {"data": data}), NO_CONTACT)
    for contact in contacts:
        given = {"data": data | {"relationships": {"contact": contact}}}
        assert_refused(site.client.post("/v1/contact_notes", given), NO_CONTACT)
    both = {"data": {"type": "contact_notes", "attributes": {"body": " "}}}
    assert_refused(site.client.post("/v1/contact_notes", both), BODY_BLANK, NO_CONTACT)
    assert listed(site.client, "/v1/contact_notes") == []


@pytest.mark.parametrize("value", ["crm-7781", "", 7])
def test_an_external_user_id_is_refused_without_a_customer(site: SiteWorld, value: Any) -> None:
    contact = new_contact(site)
    path = f"/v1/contacts/{contact['id']}"
    given = change("contacts", contact["id"], name="Changed", external_user_id=value)
    assert_refused(patch(site.client, path, given), NO_CUSTOMER)
    assert shown(site.client, path) == contact


@pytest.mark.parametrize("attributes", [{}, {"name": None}, {"name": ""}, {"name": " \t\u3000"}])
def test_a_blank_tag_name_is_refused(site: SiteWorld, attributes: Json) -> None:
    given = document("contact_tags", attributes, site=("sites", site.id))
    assert_refused(site.client.post("/v1/contact_tags", given), NAME_BLANK)
    assert listed(site.client, "/v1/contact_tags") == []


def test_a_used_tag_name_is_refused_and_names_the_tag_that_has_it(
    server: RunningServer, site: SiteWorld
) -> None:
    tag = new_tag(site, "Webinar Straße")
    expected = taken("Name", "name", f"{server.url}/v1/contact_tags/{tag['id']}")
    for name in ("Webinar Straße", "webinar STRASSE", "  Webinar Straße "):
        given = document("contact_tags", {"name": name}, site=("sites", site.id))
        assert_refused(site.client.post("/v1/contact_tags", given), expected)
    writer = key_for(server, site, permissions=("edit:contact_tags",))
    given = document("contact_tags", {"name": "Webinar Straße"}, site=("sites", site.id))
    unnamed = {name: value for name, value in expected.items() if name not in ("links", "meta")}
    assert_refused(writer.post("/v1/contact_tags", given), unnamed)
    assert listed(site.client, "/v1/contact_tags") == [tag]


@pytest.mark.parametrize(
    ("of_type", "name", "label"),
    [
        ("contacts", "name", "Name"),
        ("contacts", "address_zip", "Address zip"),
        ("contacts", "custom_7", "Custom 7"),
        ("contact_notes", "body", "Body"),
        ("contact_tags", "name", "Name"),
        ("custom_fields", "title", "Title"),
    ],
)
def test_texts_are_judged_alike_on_every_resource(
    site: SiteWorld, of_type: str, name: str, label: str
) -> None:
    resource_id = one_of_each(site)[of_type]
    path = f"/v1/{of_type}/{resource_id}"
    before = shown(site.client, path)
    related = {"site": ("sites", site.id)}
    if of_type == "contact_notes":
        related = {"contact": ("contacts", before["relationships"]["contact"]["data"]["id"])}
    email = {"email": "other@example.test"} if of_type == "contacts" else {}
    wrong: list[Any] = [True, 1.5, [], {}, ["x"]]
    for value, detail in (
        *((each, f"{label} is invalid") for each in wrong),
        ("a\0b", f"{label} contains characters that cannot be stored"),
    ):
        expected = attribute_error(name, detail)
        assert_refused(patch(site.client, path, change(of_type, resource_id, **{name: value})), expected)
        given = document(of_type, email | {name: value}, **related)
        assert_refused(site.client.post(f"/v1/{of_type}", given), expected)
    assert shown(site.client, path) == before


def test_failed_attributes_of_an_update_have_one_error_each_in_the_attribute_order(
    server: RunningServer, site: SiteWorld
) -> None:
    other = new_contact(site, "other@example.test")
    contact = new_contact(site)
    path = f"/v1/contacts/{contact['id']}"
    given = change(
        "contacts",
        contact["id"],
        custom_12=False,
        custom_2="\0",
        external_user_id="x",
        subscribed="no",
        phone_number=[],
        email="Other@example.test",
        name={},
        address_city="Porto",
    )
    assert_refused(
        patch(site.client, path, given),
        attribute_error("name", "Name is invalid"),
        taken("Email", "email", f"{server.url}/v1/contacts/{other['id']}"),
        attribute_error("phone_number", "Phone number is invalid"),
        attribute_error("subscribed", "Subscribed is invalid"),
        NO_CUSTOMER,
        attribute_error("custom_2", "Custom 2 contains characters that cannot be stored"),
        attribute_error("custom_12", "Custom 12 is invalid"),
    )
    assert shown(site.client, path) == contact


# The order of checks: 401, 400, 404, 403, 409, 422. Each test begins with a request that fails in every
# stage, and mends one after the other.


def test_the_order_of_checks_of_an_update(server: RunningServer, site: SiteWorld) -> None:
    reader = key_for(server, site, permissions=("view:contacts",))
    foreign, own = new_contact(server.new_site())["id"], new_contact(site)["id"]
    given: Json = {"data": {"type": "people", "attributes": []}}
    path = f"/v1/contacts/{foreign}"
    assert patch(server.client("unknown"), path, given).status == 401
    assert_refused(patch(reader, path, given), NO_ATTRIBUTES)
    given["data"]["attributes"] = {"email": "x"}
    assert_refused(patch(reader, path, given), NOT_FOUND)
    path = f"/v1/contacts/{own}"
    assert_refused(patch(reader, path, given), FORBIDDEN)
    assert_refused(patch(site.client, path, given), other_type("contacts"))
    given["data"]["type"] = "contacts"
    assert_refused(patch(site.client, path, given), EMAIL_INVALID)
    given["data"]["attributes"] = {"email": "new@example.test"}
    assert patch(site.client, path, given).status == 200


def test_the_order_of_checks_of_an_update_with_tags(server: RunningServer, site: SiteWorld) -> None:
    contact_id, tag_id = new_contact(site)["id"], new_tag(site, "A")["id"]
    reader = key_for(server, site, permissions=("view:contacts",))
    path = f"/v1/contacts/{contact_id}"
    given = {"data": {"type": "people", "attributes": {"email": "x"}, "relationships": {"tags": {"data": 1}}}}
    assert patch(reader, path, given).status == 400
    given["data"]["relationships"] = {"tags": identifiers("1")}
    assert_refused(patch(site.client, path, given), NOT_FOUND)
    given["data"]["relationships"] = {"tags": identifiers(tag_id)}
    assert_refused(patch(reader, path, given), FORBIDDEN)
    assert_refused(patch(site.client, path, given), other_type("contacts"))
    given["data"]["type"] = "contacts"
    assert_refused(patch(site.client, path, given), EMAIL_INVALID)
    assert tag_ids(shown(site.client, path)) == []


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_the_order_of_checks_of_a_relationship_write(
    server: RunningServer, site: SiteWorld, method: str
) -> None:
    reader = key_for(server, site, permissions=("view:contacts",))
    foreign, own = new_contact(server.new_site())["id"], new_contact(site)["id"]
    tag_id = new_tag(site, "A")["id"]
    path = "/v1/contacts/{}/relationships/tags"
    assert server.client("unknown").request(method, path.format(foreign), {}).status == 401
    assert_refused(reader.request(method, path.format(foreign), {}), NO_ARRAY)
    assert_refused(reader.request(method, path.format(foreign), identifiers(tag_id)), NOT_FOUND)
    assert_refused(reader.request(method, path.format(own), identifiers(tag_id)), FORBIDDEN)
    assert site.client.request(method, path.format(own), identifiers(tag_id)).status == 200


@pytest.mark.parametrize("of_type", ["contact_tags", "custom_fields"])
def test_the_order_of_checks_of_a_create_in_a_site(
    server: RunningServer, site: SiteWorld, of_type: str
) -> None:
    unseen, reader = server.new_site(), key_for(server, site, permissions=("view:contacts",))
    path, given = f"/v1/{of_type}", document("people", {})
    assert server.client("unknown").post(path, given).status == 401
    assert_refused(reader.post(path, given), NO_SITE)
    given = document("people", {}, site=("sites", unseen.id))
    assert_refused(reader.post(path, given), SITE_NOT_FOUND)
    assert (
        reader.post(path, document("people", {}, site=("sites", "1"))).body == reader.post(path, given).body
    )
    given = document("people", {}, site=("sites", site.id))
    assert_refused(reader.post(path, given), FORBIDDEN)
    assert_refused(site.client.post(path, given), other_type(of_type))
    given["data"]["type"] = of_type
    assert site.client.post(path, given).status == 422
    given["data"]["attributes"] = {"name": "A", "title": "A"}
    assert site.client.post(path, given).status == 201


def test_the_order_of_checks_of_a_note(server: RunningServer, site: SiteWorld) -> None:
    reader = key_for(server, site, permissions=("view:contacts", "view:contact_notes"))
    given: Json = {"data": {"type": "notes", "attributes": 1}}
    assert server.client("unknown").post("/v1/contact_notes", given).status == 401
    assert_refused(reader.post("/v1/contact_notes", given), NO_ATTRIBUTES)
    given["data"]["attributes"] = {"body": ""}
    assert_refused(reader.post("/v1/contact_notes", given), FORBIDDEN)
    assert_refused(site.client.post("/v1/contact_notes", given), other_type("contact_notes"))
    given["data"]["type"] = "contact_notes"
    assert_refused(site.client.post("/v1/contact_notes", given), BODY_BLANK, NO_CONTACT)


@pytest.mark.parametrize("of_type", ["contacts", "contact_tags", "contact_notes", "custom_fields"])
def test_a_missing_permission_on_a_seen_site_is_answered_403_after_404(
    server: RunningServer, site: SiteWorld, of_type: str
) -> None:
    resource_id = one_of_each(site)[of_type]
    foreign = one_of_each(server.new_site())[of_type]
    viewer = key_for(server, site, permissions=(f"view:{of_type}",))
    editor = key_for(server, site, permissions=(f"edit:{of_type}",))
    own, other = f"/v1/{of_type}/{resource_id}", f"/v1/{of_type}/{foreign}"
    empty: Json = {"data": {}}
    assert viewer.get(own).status == viewer.get(f"/v1/{of_type}").status == 200
    assert_refused(editor.get(f"/v1/{of_type}"), FORBIDDEN)
    assert_refused(editor.get(own), FORBIDDEN)
    assert_refused(editor.get(other), NOT_FOUND)
    assert_refused(patch(viewer, own, empty), FORBIDDEN)
    assert_refused(patch(viewer, other, empty), NOT_FOUND)
    assert patch(editor, own, empty).status == 200
    if of_type != "custom_fields":
        assert_refused(delete(viewer, own), FORBIDDEN)
        assert_refused(delete(viewer, other), NOT_FOUND)
        assert delete(editor, own).status == 200


def test_reading_the_tags_of_a_contact_asks_for_the_permission_to_view_contacts(
    server: RunningServer, site: SiteWorld
) -> None:
    path = f"/v1/contacts/{new_contact(site)['id']}/relationships/tags"
    viewer = key_for(server, site, permissions=("view:contacts",))
    editor = key_for(server, site, permissions=("edit:contacts",))
    assert viewer.get(path).status == 200
    assert_refused(editor.get(path), FORBIDDEN)
    for method in ("POST", "PATCH", "DELETE"):
        assert editor.request(method, path, identifiers()).status == 200


def test_changes_are_unavailable_while_the_database_is_locked_and_change_nothing(
    serve: Callable[..., RunningServer],
) -> None:
    server = serve()
    site = server.new_site()
    made = one_of_each(site)
    contact, note = f"/v1/contacts/{made['contacts']}", f"/v1/contact_notes/{made['contact_notes']}"
    before = {path: shown(site.client, path) for path in (contact, note)}
    calls: list[tuple[str, str, Json | None]] = [
        ("PATCH", contact, change("contacts", made["contacts"], name="Changed")),
        ("DELETE", note, None),
        ("POST", f"{contact}/relationships/tags", identifiers(made["contact_tags"])),
    ]
    with writes_held(server.database_url), ThreadPoolExecutor(len(calls)) as pool:
        replies = list(pool.map(lambda call: server.client(site.token).request(*call), calls))
    unavailable = {"status": "503", "source": None, "title": "Service Unavailable",
                   "detail": "The service is temporarily unavailable"}  # fmt: skip
    for call, reply in zip(calls, replies, strict=True):
        assert (reply.status, reply.json) == (503, {"errors": [unavailable]}), call
        assert reply.headers["retry-after"] == "1"
    assert before == {path: shown(site.client, path) for path in (contact, note)}


def test_a_body_that_is_too_large_is_refused_by_every_write(site: SiteWorld) -> None:
    made = one_of_each(site)
    expected = {"status": "413", "source": None, "title": "Content Too Large",
                "detail": "Request body is larger than 1048576 bytes"}  # fmt: skip
    for method, path in (
        *(("POST", each) for each in ("contact_tags", "contact_notes", "custom_fields")),
        *(("PATCH", f"{each}/{made[each]}") for each in TYPES[:4]),
        *((method, f"contacts/{made['contacts']}/relationships/tags") for method in ("POST", "DELETE")),
    ):
        reply = site.client.request(method, f"/v1/{path}", body=b" " * 1_048_577)
        assert (reply.status, reply.json) == (413, {"errors": [expected]})


def refusals(site: SiteWorld) -> list[Reply]:
    """Return a refusal of every status and from every resource."""
    contact_id = new_contact(site)["id"]
    client, tags = site.client, f"/v1/contacts/{contact_id}/relationships/tags"
    return [
        client.get("/v1/contacts/1"), client.get("/v1/contact_notes/1"), client.get("/v1/contact_tags/1"),
        client.get("/v1/custom_fields/1"), client.get("/v1/sites/1"), client.get("/v1/hooky"),
        client.get("/v1/contacts?include=x"), client.post(tags, {}), client.post(tags, identifiers("1")),
        client.post("/v1/contacts", {}), client.post("/v1/contact_notes", {"data": {}}),
        client.post("/v1/contact_tags", {}), client.post("/v1/contacts", contact_document("1", email="a@b.test")),
        patch(client, f"/v1/contacts/{contact_id}", change("x", contact_id)), site.create(email="ines@example.test"),
        client.get("/v1/contacts", token="unknown"), delete(client, "/v1/contacts/1"),
    ]  # fmt: skip


def test_every_refusal_has_the_same_envelope(site: SiteWorld) -> None:
    for reply in refusals(site):
        assert reply.headers["content-type"] == "application/vnd.api+json"
        assert list(reply.json) == ["errors"]
        for each in reply.json["errors"]:
            assert list(each)[:4] == ["status", "source", "title", "detail"]
            assert set(each) - {"status", "source", "title", "detail"} <= {"links", "meta"}
            assert each["status"] == str(reply.status)
            assert each["source"] is None or list(each["source"]) in (["pointer"], ["parameter"])
            assert isinstance(each["title"], str)
            assert isinstance(each["detail"], str)
        assert b"<" not in reply.body
        assert json.loads(reply.body) == reply.json
