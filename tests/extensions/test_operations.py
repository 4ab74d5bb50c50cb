"""Proves that atomic operations are done all or not at all, on every resource, with local ids for what is new."""

from typing import Any

import pytest
from contract.answers import (
    TITLES,
    Json,
    change,
    document,
    identifiers,
    ids,
    key_for,
    listed,
    new_contact,
    new_note,
    new_tag,
    shown,
    tag_ids,
)
from extensions.writes import at_once, keyed, ledger, resource, total

from support import Client, Reply, RunningServer, SiteWorld

EXTENSION = 'application/vnd.api+json;ext="https://jsonapi.org/ext/atomic"'


def ask(client: Client, operations: Any) -> Reply:
    """Send operations."""
    return client.post(
        "/v1/operations", {"atomic:operations": operations}, headers={"Content-Type": EXTENSION}
    )


def perform(client: Client, *operations: Json) -> list[Json]:
    """Send operations, and return the result of each."""
    reply = ask(client, operations)
    assert reply.status == 200, reply
    assert reply.headers["content-type"].startswith("application/vnd.api+json")
    assert set(reply.json) == {"atomic:results"}
    results: list[Json] = reply.json["atomic:results"]
    assert len(results) == len(operations)
    return results


def add(data: Any, **more: Any) -> Json:
    """Return an operation that adds a resource."""
    return {"op": "add", "data": data, **more}


def note(lid_or_id: Json, body: str = "Called.") -> Json:
    """Return the resource object of a note about a contact."""
    about = {"contact": {"data": {"type": "contacts"} | lid_or_id}}
    return {"type": "contact_notes", "attributes": {"body": body}, "relationships": about}


def of_site(of_type: str, site: SiteWorld, **attributes: Any) -> Json:
    """Return the resource object of something that belongs to a site."""
    data: Json = document(of_type, attributes, site=("sites", site.id))["data"]
    return data


def ref(of_type: str, resource_id: str, **more: str) -> Json:
    """Return a reference to a resource."""
    return {"type": of_type, "id": resource_id, **more}


def assert_refused_at(reply: Reply, at: int, status: int, detail: str, within: str = "") -> None:
    """Assert that one operation is refused, and that the pointer, where there is one, begins with it."""
    assert reply.status == status, reply
    (found,) = reply.json["errors"]
    assert (found["status"], found["title"], found["detail"]) == (str(status), TITLES[status], detail)
    assert reply.headers["content-type"] == "application/vnd.api+json"
    where = f"/atomic:operations/{at}"
    if within:
        assert found["source"] == {"pointer": where + within}
    elif found["source"] is not None:
        assert found["source"]["pointer"].startswith(where)


NOT_FOUND = "The requested resource could not be found"


def test_contacts_are_added_updated_and_removed(site: SiteWorld) -> None:
    old, gone = new_contact(site, "old@example.test"), new_contact(site, "gone@example.test")
    added, updated, removed = perform(
        site.client,
        add(resource(site, email="new@example.test", subscribed=True)),
        {
            "op": "update",
            "ref": ref("contacts", old["id"]),
            "data": change("contacts", old["id"], name="Changed")["data"],
        },
        {"op": "remove", "ref": ref("contacts", gone["id"])},
    )
    assert added["data"] == shown(site.client, f"/v1/contacts/{added['data']['id']}")
    assert updated["data"] == shown(site.client, f"/v1/contacts/{old['id']}")
    assert updated["data"]["attributes"]["name"] == "Changed"
    assert removed == {}
    assert site.client.get(f"/v1/contacts/{gone['id']}").status == 404
    assert ledger(site.client, added["data"]["id"]) == ["subscribed"]
    assert total(site.client) == 2


@pytest.mark.parametrize("of_type", ["contact_tags", "contact_notes", "custom_fields"])
def test_what_belongs_to_a_site_is_added_updated_and_where_possible_removed(
    site: SiteWorld, of_type: str
) -> None:
    contact = new_contact(site)
    new, attributes = {
        "contact_tags": (of_site("contact_tags", site, name="New"), {"name": "Other"}),
        "contact_notes": (note({"id": contact["id"]}), {"body": "Other"}),
        "custom_fields": (of_site("custom_fields", site, title="New"), {"title": "Other"}),
    }[of_type]
    (added,) = perform(site.client, add(new))
    number = added["data"]["id"]
    assert added["data"] == shown(site.client, f"/v1/{of_type}/{number}")
    data = {"type": of_type, "id": number, "attributes": attributes}
    (updated,) = perform(site.client, {"op": "update", "ref": ref(of_type, number), "data": data})
    assert updated["data"] == shown(site.client, f"/v1/{of_type}/{number}")
    assert attributes.items() <= updated["data"]["attributes"].items()
    reply = ask(site.client, [{"op": "remove", "ref": ref(of_type, number)}])
    if of_type == "custom_fields":
        assert_refused_at(reply, 0, 404, NOT_FOUND)
        assert shown(site.client, f"/v1/{of_type}/{number}") == updated["data"]
    else:
        assert reply.json == {"atomic:results": [{}]}
        assert site.client.get(f"/v1/{of_type}/{number}").status == 404


def test_who_sees_all_sites_adds_a_site_and_fills_it_in_one_request(server: RunningServer) -> None:
    everything = key_for(server)
    at_site = {"site": {"data": {"type": "sites", "lid": "site"}}}
    added, tag, contact, updated = perform(
        everything,
        add({"type": "sites", "lid": "site", "attributes": {"title": "Fresh"}}),
        add({"type": "contact_tags", "attributes": {"name": "New"}, "relationships": at_site}),
        add({"type": "contacts", "attributes": {"email": "a@example.test"}, "relationships": at_site}),
        {
            "op": "update",
            "ref": {"type": "sites", "lid": "site"},
            "data": {"attributes": {"title": "Fresher"}},
        },
    )
    site_id = added["data"]["id"]
    assert updated["data"]["attributes"]["title"] == "Fresher"
    assert updated["data"] == shown(everything, f"/v1/sites/{site_id}")
    for made in (tag, contact):
        assert made["data"]["relationships"]["site"]["data"] == {"type": "sites", "id": site_id}
    assert ids(listed(everything, f"/v1/contacts?filter[site_id]={site_id}")) == [contact["data"]["id"]]


def test_who_sees_one_site_adds_none(site: SiteWorld) -> None:
    reply = ask(
        site.client,
        [
            add(resource(site, email="a@example.test")),
            add({"type": "sites", "attributes": {"title": "Fresh"}}),
        ],
    )
    assert reply.status == 403
    assert total(site.client) == 0


def test_the_tags_of_a_contact_are_added_replaced_and_removed(site: SiteWorld) -> None:
    contact = new_contact(site)
    one, two, three = (new_tag(site, name)["id"] for name in ("One", "Two", "Three"))
    of_contact = ref("contacts", contact["id"], relationship="tags")
    added, replaced, removed = perform(
        site.client,
        {"op": "add", "ref": of_contact, **identifiers(one, two)},
        {"op": "update", "ref": of_contact, **identifiers(two, three)},
        {"op": "remove", "ref": of_contact, **identifiers(three)},
    )
    assert sorted(each["id"] for each in added["data"]) == [one, two]
    assert sorted(each["id"] for each in replaced["data"]) == [two, three]
    assert removed == {}
    assert tag_ids(shown(site.client, f"/v1/contacts/{contact['id']}")) == [two]


def test_local_ids_name_what_is_new_in_refs_relationships_and_linkage(site: SiteWorld) -> None:
    person: Json = {"type": "contacts", "lid": "person"}
    _, label, noted, linked, updated = perform(
        site.client,
        add(resource(site, email="ines@example.test") | {"lid": "person"}),
        add(of_site("contact_tags", site, name="New") | {"lid": "label"}),
        add(note({"lid": "person"})),
        {
            "op": "add",
            "ref": person | {"relationship": "tags"},
            "data": [{"type": "contact_tags", "lid": "label"}],
        },
        {"op": "update", "ref": person, "data": {"type": "contacts", "attributes": {"name": "Ines Okafor"}}},
    )
    contact = updated["data"]
    assert noted["data"]["relationships"]["contact"]["data"] == {"type": "contacts", "id": contact["id"]}
    assert linked["data"] == [{"type": "contact_tags", "id": label["data"]["id"]}]
    assert contact["attributes"]["name"] == "Ines Okafor"
    assert tag_ids(contact) == [label["data"]["id"]]
    assert shown(site.client, f"/v1/contacts/{contact['id']}") == contact


def test_a_local_id_can_be_replaced_as_tag_in_the_relationships_of_an_update(site: SiteWorld) -> None:
    contact = new_contact(site)
    tagged = {"tags": {"data": [{"type": "contact_tags", "lid": "label"}]}}
    label, updated = perform(
        site.client,
        add(of_site("contact_tags", site, name="New") | {"lid": "label"}),
        {
            "op": "update",
            "ref": ref("contacts", contact["id"]),
            "data": {"type": "contacts", "id": contact["id"], "relationships": tagged},
        },
    )
    assert tag_ids(updated["data"]) == [label["data"]["id"]]


def test_a_local_id_belongs_to_its_type(site: SiteWorld) -> None:
    person, label = perform(
        site.client,
        add(resource(site, email="ines@example.test") | {"lid": "same"}),
        add(of_site("contact_tags", site, name="New") | {"lid": "same"}),
    )
    again = ask(
        site.client,
        [
            add(resource(site, email="other@example.test") | {"lid": "same"}),
            {"op": "remove", "ref": {"type": "contact_tags", "lid": "same"}},
        ],
    )
    assert_refused_at(again, 1, 404, NOT_FOUND)
    assert ids(listed(site.client, "/v1/contacts")) == [person["data"]["id"]]
    assert ids(listed(site.client, "/v1/contact_tags")) == [label["data"]["id"]]


def test_a_local_id_is_known_in_later_operations_only(site: SiteWorld) -> None:
    reply = ask(
        site.client,
        [
            {"op": "update", "ref": {"type": "contacts", "lid": "p"}, "data": {"attributes": {"name": "A"}}},
            add(resource(site, email="ines@example.test") | {"lid": "p"}),
        ],
    )
    assert_refused_at(reply, 0, 404, NOT_FOUND)
    made = perform(site.client, add(resource(site, email="ines@example.test") | {"lid": "p"}))
    reply = ask(site.client, [{"op": "remove", "ref": {"type": "contacts", "lid": "p"}}])
    assert_refused_at(reply, 0, 404, NOT_FOUND)
    assert ids(listed(site.client, "/v1/contacts")) == [made[0]["data"]["id"]]


def test_a_target_can_be_named_by_its_path(site: SiteWorld) -> None:
    contact, tag = new_contact(site), new_tag(site, "One")
    path = f"/v1/contacts/{contact['id']}"
    added, updated, linked, removed = perform(
        site.client,
        add(resource(site, email="new@example.test"), href="/v1/contacts"),
        {"op": "update", "href": path, "data": {"type": "contacts", "attributes": {"name": "Changed"}}},
        {"op": "add", "href": f"{path}/relationships/tags", **identifiers(tag["id"])},
        {"op": "remove", "href": f"/v1/contact_tags/{tag['id']}"},
    )
    assert added["data"]["attributes"]["email"] == "new@example.test"
    assert updated["data"]["attributes"]["name"] == "Changed"
    assert linked["data"] == identifiers(tag["id"])["data"]
    assert removed == {}
    assert tag_ids(shown(site.client, path)) == []


def test_later_operations_see_what_earlier_ones_did(site: SiteWorld) -> None:
    one, two = new_contact(site, "one@example.test"), new_contact(site, "two@example.test")
    gone = new_contact(site, "gone@example.test")

    def email(contact: Json, address: str) -> Json:
        return {
            "op": "update",
            "ref": ref("contacts", contact["id"]),
            "data": change("contacts", contact["id"], email=address)["data"],
        }

    results = perform(
        site.client,
        email(one, "swap@example.test"),
        email(two, "one@example.test"),
        email(one, "two@example.test"),
        {"op": "remove", "ref": ref("contacts", gone["id"])},
        add(resource(site, email="gone@example.test")),
    )
    assert results[2]["data"]["attributes"]["email"] == "two@example.test"
    assert ids(listed(site.client, "/v1/contacts?filter[email]=one@example.test")) == [two["id"]]
    assert ids(listed(site.client, "/v1/contacts?filter[email]=two@example.test")) == [one["id"]]
    assert listed(site.client, "/v1/contacts?filter[email]=swap@example.test") == []
    assert results[4]["data"]["id"] != gone["id"]
    assert total(site.client) == 3


def wrong_operations(site: SiteWorld, there: Json) -> list[tuple[Json, int, str, str]]:
    """Return operations that are refused, each with status, detail and the rest of its pointer."""
    taken = resource(site, email="there@example.test")
    other_id = change("contacts", "1", name="A")["data"]
    here = ref("contacts", there["id"])
    return [
        (add(resource(site, email="")), 422, "Email can't be blank", "/data/attributes/email"),
        (add(resource(site, email="a b")), 422, "Email is invalid", "/data/attributes/email"),
        (add(taken), 422, "Email has already been taken", "/data/attributes/email"),
        (add(resource(site) | {"attributes": 1}), 400, "Attributes must be an object", "/data/attributes"),
        (
            add({"type": "contacts", "attributes": {"email": "a@example.test"}}),
            400,
            "Site relationship is required",
            "/data/relationships/site",
        ),
        (add(resource("1", email="a@example.test")), 404, NOT_FOUND, "/data/relationships/site"),
        (add(note({"id": "1"})), 422, "Contact must exist", "/data/relationships/contact"),
        (add(note({"lid": "unknown"})), 422, "Contact must exist", "/data/relationships/contact"),
        (add(note({"id": there["id"]}, " ")), 422, "Body can't be blank", "/data/attributes/body"),
        (add(of_site("contact_tags", site, name="")), 422, "Name can't be blank", "/data/attributes/name"),
        (
            {"op": "update", "ref": here, "data": other_id},
            409,
            "Id does not match the URL",
            "/data/id",
        ),
        (
            {"op": "update", "ref": here, "data": {"type": "users", "id": there["id"]}},
            409,
            "Type must be contacts",
            "/data/type",
        ),
        (
            {"op": "update", "ref": here, "data": {"attributes": {"email": None}}},
            422,
            "Email can't be blank",
            "/data/attributes/email",
        ),
        ({"op": "update", "ref": here}, 400, "Request body must contain a data object", "/data"),
        (
            {"op": "add", "ref": here | {"relationship": "tags"}, "data": {}},
            400,
            "Request body must contain a data array",
            "/data",
        ),
        ({"op": "add", "ref": here | {"relationship": "tags"}, **identifiers("1")}, 404, NOT_FOUND, ""),
        ({"op": "add", "ref": here | {"relationship": "colours"}, **identifiers("1")}, 404, NOT_FOUND, ""),
        ({"op": "remove", "ref": ref("contacts", "1")}, 404, NOT_FOUND, ""),
        ({"op": "remove", "ref": ref("sites", site.id)}, 404, NOT_FOUND, ""),
        ({"op": "remove", "href": "/v1/people/1"}, 404, NOT_FOUND, ""),
        (add({"type": "users", "attributes": {}}), 404, NOT_FOUND, ""),
    ]


def test_one_that_is_refused_undoes_all_and_is_pointed_at(site: SiteWorld) -> None:
    there = new_contact(site, "there@example.test", subscribed=True)
    tag = new_tag(site, "Kept")
    right = [
        add(resource(site, email="ines@example.test", subscribed=True) | {"lid": "person"}),
        {
            "op": "add",
            "ref": {"type": "contacts", "lid": "person", "relationship": "tags"},
            **identifiers(tag["id"]),
        },
        {
            "op": "update",
            "ref": ref("contacts", there["id"]),
            "data": change("contacts", there["id"], subscribed=False, name="Changed")["data"],
        },
    ]
    for wrong, status, detail, within in wrong_operations(site, there):
        after = add(of_site("contact_tags", site, name="After"))
        reply = ask(site.client, [*right, wrong, after])
        assert_refused_at(reply, 3, status, detail, within)
        assert listed(site.client, "/v1/contacts") == [there]
        assert listed(site.client, "/v1/contact_tags") == [tag]
        assert ledger(site.client, there["id"]) == ["subscribed"]
        assert listed(site.client, f"/v1/contacts?filter[has_tag_id]={tag['id']}") == []


def test_several_problems_of_one_operation_are_answered_together(site: SiteWorld) -> None:
    reply = ask(
        site.client,
        [add(resource(site, email="a@example.test")), add(resource(site, name=[], subscribed="maybe"))],
    )
    assert reply.status == 422
    pointers = [each["source"]["pointer"] for each in reply.json["errors"]]
    where = "/atomic:operations/1/data/attributes"
    assert pointers == [f"{where}/name", f"{where}/email", f"{where}/subscribed"]
    assert total(site.client) == 0


def test_a_removed_resource_is_unknown_to_later_operations(site: SiteWorld) -> None:
    contact = new_contact(site)
    here = ref("contacts", contact["id"])
    changed = {"op": "update", "ref": here, "data": {"attributes": {"name": "A"}}}
    reply = ask(site.client, [{"op": "remove", "ref": here}, changed])
    assert_refused_at(reply, 1, 404, NOT_FOUND)
    assert shown(site.client, f"/v1/contacts/{contact['id']}") == contact


@pytest.mark.parametrize(
    "operation",
    [
        None,
        "add",
        [],
        {},
        {"op": "move", "ref": {"type": "contacts", "id": "1"}},
        {"op": None, "data": {"type": "contacts"}},
        {"op": "add"},
        {"op": "add", "data": {}},
        {"op": "remove"},
        {"op": "remove", "ref": "contacts"},
        {"op": "remove", "ref": {"id": "1"}},
        {"op": "remove", "ref": {"type": 1, "id": "1"}},
        {"op": "remove", "href": 1},
        {"op": "remove", "href": "contacts/1"},
        {"op": "remove", "href": "/v1/contacts/1", "ref": {"type": "contacts", "id": "1"}},
    ],
)
def test_an_operation_without_shape_is_refused_and_pointed_at(site: SiteWorld, operation: Any) -> None:
    reply = ask(site.client, [add(resource(site, email="a@example.test")), operation])
    assert reply.status == 400, reply
    (found,) = reply.json["errors"]
    assert found["source"]["pointer"].startswith("/atomic:operations/1")
    assert total(site.client) == 0


@pytest.mark.parametrize("sent", [None, {}, "add", [], 1])
def test_the_operations_must_be_an_array_that_is_not_empty(site: SiteWorld, sent: Any) -> None:
    reply = ask(site.client, sent)
    assert reply.status == 400
    assert reply.json["errors"][0]["source"] == {"pointer": "/atomic:operations"}
    assert site.client.post("/v1/operations", {"data": []}).status == 400
    assert site.client.post("/v1/operations", body=b"[]").status == 400


def test_a_hundred_are_done_and_one_more_is_refused(site: SiteWorld) -> None:
    operations = [add(resource(site, email=f"p{number}@example.test")) for number in range(101)]
    reply = ask(site.client, operations)
    assert reply.status == 400
    (found,) = reply.json["errors"]
    assert found["detail"] == "Request body must contain 1 to 100 operations"
    assert total(site.client) == 0
    made = perform(site.client, *operations[:100])
    assert [each["data"]["attributes"]["email"] for each in made] == [
        f"p{number}@example.test" for number in range(100)
    ]
    assert total(site.client) == 100


def test_each_operation_asks_for_its_own_permission(server: RunningServer, site: SiteWorld) -> None:
    contact = new_contact(site)
    tagger = key_for(server, site, permissions=("edit:contact_tags", "view:contacts", "view:contact_tags"))
    new = add(of_site("contact_tags", site, name="New"))
    here = ref("contacts", contact["id"])
    for forbidden in (
        add(resource(site, email="a@example.test")),
        {"op": "update", "ref": here, "data": {"attributes": {"name": "A"}}},
        {"op": "remove", "ref": here},
        {"op": "update", "ref": here | {"relationship": "tags"}, "data": []},
        add(note({"id": contact["id"]})),
        add(of_site("custom_fields", site, title="New")),
    ):
        reply = ask(tagger, [new, forbidden])
        assert_refused_at(reply, 1, 403, "You do not have permission to perform this action")
    assert listed(site.client, "/v1/contact_tags") == []
    assert len(perform(tagger, new)) == 1


def test_what_another_site_has_is_unknown(server: RunningServer, site: SiteWorld) -> None:
    other = server.new_site()
    theirs = new_contact(other)
    for operation in (
        {"op": "remove", "ref": ref("contacts", theirs["id"])},
        {"op": "remove", "href": f"/v1/contacts/{theirs['id']}"},
        {"op": "update", "ref": ref("contacts", theirs["id"]), "data": {"attributes": {"name": "A"}}},
        {"op": "update", "ref": ref("contacts", theirs["id"], relationship="tags"), "data": []},
    ):
        reply = ask(site.client, [add(resource(site, email="a@example.test")), operation])
        assert_refused_at(reply, 1, 404, NOT_FOUND)
    assert shown(other.client, f"/v1/contacts/{theirs['id']}") == theirs
    assert total(site.client) == 0


def test_of_simultaneous_requests_for_one_email_one_is_done_and_nothing_of_the_others(
    server: RunningServer, site: SiteWorld
) -> None:
    def several(number: int) -> Reply:
        return ask(
            server.client(site.token),
            [
                add(of_site("contact_tags", site, name=f"Tag {number}") | {"lid": "label"}),
                add(resource(site, email=f"own{number}@example.test")),
                add(resource(site, email="one@example.test") | {"lid": "person"}),
                {
                    "op": "add",
                    "ref": {"type": "contacts", "lid": "person", "relationship": "tags"},
                    "data": [{"type": "contact_tags", "lid": "label"}],
                },
            ],
        )

    replies = at_once(12, several)
    assert sorted(reply.status for reply in replies) == [200] + [422] * 11
    (winner,) = [number for number, reply in enumerate(replies) if reply.status == 200]
    (tag,) = listed(site.client, "/v1/contact_tags")
    assert tag["attributes"]["name"] == f"Tag {winner}"
    emails = {each["attributes"]["email"] for each in listed(site.client, "/v1/contacts")}
    assert emails == {f"own{winner}@example.test", "one@example.test"}
    for number, reply in enumerate(replies):
        if number != winner:
            assert_refused_at(reply, 2, 422, "Email has already been taken", "/data/attributes/email")


def test_an_update_can_name_its_target_by_its_data(site: SiteWorld) -> None:
    noted = new_note(site, new_contact(site)["id"], "Old")
    data = {"type": "contact_notes", "id": noted["id"], "attributes": {"body": "New"}}
    (updated,) = perform(site.client, {"op": "update", "data": data})
    assert updated["data"]["attributes"]["body"] == "New"
    assert updated["data"] == shown(site.client, f"/v1/contact_notes/{noted['id']}")


def test_the_answer_has_the_media_type_of_the_extension_with_and_without_a_key(site: SiteWorld) -> None:
    operations = {"atomic:operations": [add(of_site("custom_fields", site, title="New"))]}
    for headers in ({}, keyed("operations"), keyed("operations")):
        reply = site.client.post("/v1/operations", operations, headers=headers)
        assert (reply.status, reply.headers["content-type"]) == (200, EXTENSION)
    assert total(site.client, "/v1/custom_fields") == 2
